//! I/O: `headcount ring …`: how the ring of Redis nodes is, what a change of it would move, and asking the coordinator for it.

use crate::{
    config::Config,
    failure::Failure,
    ring_asking::{Asking, Ring},
};
use clap::{Args, Subcommand};
use protocol::name::Channel;
use ring_coordinator::{
    change::Change,
    document::{Document, Layout},
    plan::{MOVE_MAX_PERCENT, Plan},
    slot::Slot,
    status::Status,
    table::Table,
    validate::DOCUMENT_BYTES_MAX,
    wanted::Wish,
};
use serde_json::json;
use std::{
    fmt,
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum RingCommand {
    /// Tell how the ring is: nodes and their shares, gateways, votes, and a change under way.
    Status {
        /// Where the document is.
        #[command(flatten)]
        source: Source,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the ring's layout as JSON, for `plan` and `apply` to read.
    Layout(Source),
    /// Tell which Redis node has a channel.
    Owner {
        /// The channel.
        #[arg(value_parser = |text: &str| Channel::parse(text).map_err(|error| error.to_string()))]
        channel: Channel,
        /// Where the document is.
        #[command(flatten)]
        source: Source,
    },
    /// Tell what going over to a layout would move, and ask for nothing.
    Plan {
        /// The layout as JSON, as `layout` prints it; - for stdin. States and incarnations of nodes may be left out.
        file: PathBuf,
        /// Where the document is.
        #[command(flatten)]
        source: Source,
        /// As JSON, with every slot that moves.
        #[arg(long)]
        json: bool,
    },
    /// Go over to a layout: nodes that it does not name are removed, pins that it does not name are dropped.
    Apply {
        /// As for `plan`.
        file: PathBuf,
        /// How to ask.
        #[command(flatten)]
        options: Options,
    },
    /// Take in a new node.
    Add {
        /// Its name, for good: 1-64 of a-z 0-9 . _ -
        id: String,
        /// redis://HOST:PORT or rediss://HOST:PORT; credentials belong into the configuration.
        url: String,
        /// Its share of the channels beside the other weights, 1-16.
        #[arg(long, default_value_t = 1)]
        weight: u32,
        /// How to ask.
        #[command(flatten)]
        options: Options,
    },
    /// Move all channels off a node, and keep them off until `undrain`.
    Drain(OfNode),
    /// Give channels to a drained node again.
    Undrain(OfNode),
    /// Take a node out for good; its channels move first.
    Remove(OfNode),
    /// Give a node another share of the channels.
    Reweight {
        /// The node.
        id: String,
        /// 1-16.
        weight: u32,
        /// How to ask.
        #[command(flatten)]
        options: Options,
    },
    /// Say that a node is reached elsewhere now; its channels stay its own.
    Move {
        /// The node.
        id: String,
        /// As for `add`.
        url: String,
        /// How to ask.
        #[command(flatten)]
        options: Options,
    },
    /// Give a slot to a node by hand, such as that of a channel which is too much beside others.
    Pin {
        /// 0-16383, or channel:NAME for that of a channel.
        #[arg(value_parser = parse_slot)]
        slot: u16,
        /// The node.
        id: String,
        /// How to ask.
        #[command(flatten)]
        options: Options,
    },
    /// Leave a slot to the ring again.
    Unpin {
        /// As for `pin`.
        #[arg(value_parser = parse_slot)]
        slot: u16,
        /// How to ask.
        #[command(flatten)]
        options: Options,
    },
    /// Drop a change that has not got beyond `prepare`.
    Abort(Asking),
    /// Say that nodes are lost, so that nobody waits for votes: what their channels have kept is lost with them.
    Lost {
        /// The nodes.
        #[arg(required = true)]
        ids: Vec<String>,
        /// How to ask.
        #[command(flatten)]
        asking: Asking,
    },
    /// Publish the newest ring that the coordinator knows again, after etcd was restored from an older copy.
    Publish(Asking),
}

/// A change that names a node.
#[derive(Args, Debug)]
pub struct OfNode {
    /// The node.
    id: String,
    #[command(flatten)]
    options: Options,
}

/// Where the ring document comes from.
#[derive(Args, Debug)]
pub struct Source {
    /// A document as a file, instead of the one in etcd; - for stdin.
    #[arg(long, value_name = "FILE")]
    document: Option<PathBuf>,
}

/// How a change of the layout is asked for.
#[derive(Args, Debug)]
pub struct Options {
    /// Only tell what it would move.
    #[arg(long)]
    dry_run: bool,
    /// Refuse to move more than this much of all channels, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = MOVE_MAX_PERCENT)]
    max_move: f64,
    /// Move as much as it takes.
    #[arg(long, conflicts_with = "max_move")]
    force: bool,
    #[command(flatten)]
    asking: Asking,
}

/// Runs one of them.
pub fn run(command: RingCommand, config: &Config) -> Result<(), Failure> {
    let change = |change: Change, options: &Options| change_ring(&change, options, config);
    match command {
        RingCommand::Status { source: Source { document: None }, json } => print(&Status::of_snapshot(&Ring::open(config)?.read()?), json),
        RingCommand::Status { source, json } => print(&Status::of_document(&source.read(config)?), json),
        RingCommand::Layout(source) => {
            let layout = source.read(config)?.current;
            out(&format!("{:#}", json!(layout)))
        }
        RingCommand::Owner { channel, source } => {
            let (document, slot) = (source.read(config)?, Slot::of(&channel));
            let table = Table::new(&document.current, document.vnodes);
            let owner = table.owner(slot).ok_or_else(|| {
                Failure::Refused(
                    "no node takes slots: `headcount ring add` adds one, `headcount ring undrain` gives slots to one again".to_owned(),
                )
            })?;
            out(&format!("{owner} (slot {})", slot.number()))
        }
        RingCommand::Plan { file, source, json } => {
            let document = source.read(config)?;
            let change = whole(&file, document.vnodes)?;
            print(&Planned::new(&change, &document)?, json)
        }
        RingCommand::Apply { file, options } => change(whole(&file, Document::default().vnodes)?, &options),
        RingCommand::Add { id, url, weight, options } => change(Change::Add { id, url, weight }, &options),
        RingCommand::Drain(OfNode { id, options }) => change(Change::Drain(id), &options),
        RingCommand::Undrain(OfNode { id, options }) => change(Change::Undrain(id), &options),
        RingCommand::Remove(OfNode { id, options }) => change(Change::Remove(id), &options),
        RingCommand::Reweight { id, weight, options } => change(Change::Reweight(id, weight), &options),
        RingCommand::Move { id, url, options } => change(Change::SetUrl(id, url), &options),
        RingCommand::Pin { slot, id, options } => change(Change::Pin(slot, id), &options),
        RingCommand::Unpin { slot, options } => change(Change::Unpin(slot), &options),
        RingCommand::Abort(asking) => ask(Wish::Abort, &asking, config),
        RingCommand::Lost { ids, asking } => ask(Wish::Lose(ids), &asking, config),
        RingCommand::Publish(asking) => ask(Wish::Publish, &asking, config),
    }
}

fn change_ring(change: &Change, options: &Options, config: &Config) -> Result<(), Failure> {
    let ring = Ring::open(config)?;
    let document = ring.document()?;
    let planned = Planned::new(change, &document)?;
    if !options.asking.json || options.dry_run {
        print(&planned, options.asking.json)?;
    }
    if !options.force {
        planned.plan.within(options.max_move).map_err(|refusal| Failure::Refused(format!("{refusal} with --max-move or --force")))?;
    }
    if options.dry_run {
        return Ok(());
    }
    let wish = Wish::Become { layout: planned.layout.clone(), epoch: document.epoch };
    let answer = ring.ask(wish, &options.asking)?;
    if options.asking.json {
        return out(&json!({ "plan": planned.plan, "layout": planned.layout, "answer": answer }).to_string());
    }
    answer.map_or(Ok(()), |answer| out(&format!("done: the ring is at epoch {}", answer.epoch)))
}

fn ask(wish: Wish, asking: &Asking, config: &Config) -> Result<(), Failure> {
    let answer = Ring::open(config)?.ask(wish, asking)?;
    if asking.json {
        return out(&json!({ "answer": answer }).to_string());
    }
    answer.map_or(Ok(()), |answer| out(&format!("done: the ring is at epoch {}", answer.epoch)))
}

/// What a change makes of a document.
#[derive(serde::Serialize)]
struct Planned {
    /// Of the document that it was made from.
    epoch: u64,
    plan: Plan,
    layout: Layout,
}

impl Planned {
    fn new(change: &Change, document: &Document) -> Result<Planned, Failure> {
        let refused = |refusal: ring_coordinator::change::Refusal| Failure::Refused(refusal.to_string());
        let layout = change.apply(&document.current, document.vnodes, document.epoch + 1).map_err(refused)?;
        let plan = Plan::between(&document.current, &layout, document.vnodes);
        Ok(Planned { epoch: document.epoch, plan, layout })
    }
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.plan.fmt(f)
    }
}

impl Source {
    fn read(&self, config: &Config) -> Result<Document, Failure> {
        let Some(file) = &self.document else { return Ring::open(config)?.document() };
        Document::parse(&bytes(file)?).map_err(|flaw| Failure::Usage(format!("{}: {flaw}", file.display())))
    }
}

fn whole(file: &Path, vnodes: u32) -> Result<Change, Failure> {
    let layout = Layout::parse(&bytes(file)?, vnodes).map_err(|flaw| Failure::Usage(format!("{}: {flaw}", file.display())))?;
    Ok(Change::Whole(layout))
}

/// What the file holds, or enough of it to be told that it is too long.
fn bytes(file: &Path) -> Result<Vec<u8>, Failure> {
    let unreadable = |source| Failure::Input { file: file.display().to_string(), source };
    let mut reader: Box<dyn Read> = match file.to_str() {
        Some("-") => Box::new(io::stdin()),
        _ => Box::new(File::open(file).map_err(unreadable)?),
    };
    let mut bytes = Vec::new();
    reader.by_ref().take(DOCUMENT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

fn parse_slot(text: &str) -> Result<u16, String> {
    if let Some(channel) = text.strip_prefix("channel:") {
        return Channel::parse(channel).map(|channel| Slot::of(&channel).number()).map_err(|error| error.to_string());
    }
    let slot = text.parse().ok().and_then(Slot::new);
    slot.map(Slot::number).ok_or_else(|| "write 0-16383, or channel:NAME".to_owned())
}

fn print<T: fmt::Display + serde::Serialize>(value: &T, as_json: bool) -> Result<(), Failure> {
    if as_json { out(&json!(value).to_string()) } else { out(value.to_string().trim_end()) }
}

fn out(text: &str) -> Result<(), Failure> {
    writeln!(io::stdout(), "{text}").map_err(Failure::Output)
}
