//! I/O: `headcount probe`: a customer's canary, which goes in at the front door and does what customers do, again and again.

mod connection;
pub mod door;
mod metrics;
pub mod outcome;
mod round;

use self::{
    door::Door,
    metrics::Metrics,
    outcome::{Round, Step},
    round::Plan,
};
use crate::{
    clock,
    config::secret::Secret,
    failure::Failure,
    listeners,
    signals::Signals,
    token::{self, Claims},
};
use anyhow::Context;
use clap::Args;
use core::net::SocketAddr;
use prometheus::Registry;
use protocol::name::{Channel, CounterKey};
use std::{
    convert::Infallible,
    fs,
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};
use tokio::time::{MissedTickBehavior, interval};

/// How long a token of ours is valid: longer than a round can take.
const TOKEN_TTL_S: u64 = 3600;
/// Other doors; more are refused.
const OTHERS_MAX: usize = 16;

const EXAMPLES: &str = "\
Examples:
  headcount probe --url http://127.0.0.1:8000 --once
                                                  whether a gateway in development mode does what it should
  headcount probe --url https://chat.example --secret-file probe.secret --interval 10s --listen 127.0.0.1:9100
                                                  a canary for Prometheus; each round has a token of its own
  headcount probe --url https://eu.chat.example --other https://us.chat.example --others-hear --channel probe:eu
                                                  another region too; the namespace `probe` is global";

/// Where to go, who to be, and how often.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ProbeCommand {
    /// The front door: http, https, ws or wss, a host, and a path if it is not /connection/websocket.
    #[arg(long, value_parser = Door::parse)]
    url: Door,
    /// Another gateway, or one of another region: the like must be read there. May be given up to 16 times.
    #[arg(long = "other", value_name = "URL", value_parser = Door::parse)]
    others: Vec<Door>,
    /// The message must be heard at the others: they are gateways of the same region, or the channel's namespace is global.
    #[arg(long)]
    others_hear: bool,
    /// The channel; each probe should have one of its own.
    #[arg(long, default_value = "headcount-probe", value_parser = channel)]
    channel: String,
    /// The counter, which goes up by one with each round; each probe should have one of its own.
    #[arg(long, default_value = "headcount-probe", value_parser = counter)]
    counter: String,
    /// A connection token. It is seen by whoever may list processes, and ends some day: rather give --secret-file.
    #[arg(long, conflicts_with = "secret_file", value_parser = |text: &str| Ok::<_, Infallible>(Secret::new(text.to_owned())))]
    token: Option<Secret>,
    /// A file with one of auth.hmac_secrets, to sign a token for each round.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Who to be, with --secret-file.
    #[arg(long, default_value = "headcount-probe", requires = "secret_file")]
    user: String,
    /// The `aud` of the token, with --secret-file.
    #[arg(long, requires = "secret_file")]
    audience: Option<String>,
    /// The `iss` of the token, with --secret-file.
    #[arg(long, requires = "secret_file")]
    issuer: Option<String>,
    /// From the beginning of one round to that of the next; a round that takes longer is waited for.
    #[arg(long, default_value = "10s", value_parser = token::parse_ttl)]
    interval: u64,
    /// How long each step may take.
    #[arg(long, default_value = "10s", value_parser = token::parse_ttl)]
    deadline: u64,
    /// One round; exit code 1 if a step failed.
    #[arg(long)]
    once: bool,
    /// Serve /metrics at this address.
    #[arg(long, value_name = "IP:PORT", conflicts_with = "once")]
    listen: Option<SocketAddr>,
    /// Rounds as JSON, one line each: `time_ms`, `ok`, and `steps` with `step`, `target`, and `ms`, `error` or `skipped`.
    #[arg(long)]
    json: bool,
}

fn channel(text: &str) -> Result<String, String> {
    Channel::parse(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn counter(text: &str) -> Result<String, String> {
    CounterKey::parse(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// Goes in once, or until a signal.
pub fn run(command: ProbeCommand) -> Result<(), Failure> {
    let doors: Vec<&Door> = std::iter::once(&command.url).chain(&command.others).collect();
    if let Some((_, twice)) =
        doors.iter().enumerate().find(|(at, door)| doors[..*at].iter().any(|other| other.to_string() == door.to_string()))
    {
        return Err(Failure::Usage(format!("{twice} is given twice: each door is measured by itself")));
    }
    if command.others.len() > OTHERS_MAX {
        return Err(Failure::Usage(format!("--other: {} doors; at most {OTHERS_MAX}", command.others.len())));
    }
    // One provider for every use of TLS, before the first; it fails only if there is one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(probe(command))
}

async fn probe(command: ProbeCommand) -> Result<(), Failure> {
    let mut signals = Signals::catch().context("catching signals")?;
    let identity = Identity::of(&command)?;
    let plan = Plan {
        here: command.url,
        others: command.others,
        others_hear: command.others_hear,
        channel: command.channel,
        counter: command.counter,
        deadline: Duration::from_secs(command.deadline),
    };
    let registry = Registry::new();
    let metrics = Metrics::register(&registry, &steps(&plan)).context("registering metrics")?;
    if let Some(address) = command.listen {
        let listener = listeners::bind("metrics", address)?;
        let at = listener.local_addr().context("asking for the bound address")?;
        let _ = writeln!(io::stderr(), "metrics at http://{at}/metrics");
        tokio::spawn(metrics::serve(listener, registry));
    }
    let mut ticks = interval(Duration::from_secs(command.interval));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = signals.next() => return Ok(()),
        }
        let Some(round) = go_round(&plan, &identity, &mut signals).await? else { return Ok(()) };
        metrics.count(&round);
        let line = if command.json { round.to_json().to_string() } else { round.to_string() };
        writeln!(io::stdout(), "{line}").map_err(Failure::Output)?;
        if command.once {
            let failed = || Failure::Unwell("a step of the round failed".to_owned());
            return if round.is_well() { Ok(()) } else { Err(failed()) };
        }
    }
}

/// One round; `None`: a signal came before its end. Its clients say goodbye in any case.
async fn go_round(plan: &Plan, identity: &Identity, signals: &mut Signals) -> Result<Option<Round>, Failure> {
    let at_ms = clock::now().wall_ms;
    let token = identity.token()?;
    let mut visits = plan.visits();
    let is_whole = tokio::select! {
        () = round::run(plan, token.as_deref(), &mut visits) => true,
        _ = signals.next() => false,
    };
    round::goodbye(plan, &mut visits).await;
    Ok(is_whole.then(|| round::outcome(at_ms, visits)))
}

/// Every step at every door.
fn steps(plan: &Plan) -> Vec<(Step, String)> {
    round::outcome(0, plan.visits()).steps.into_iter().map(|taken| (taken.step, taken.target)).collect()
}

/// Who the probe is.
enum Identity {
    Nobody,
    Token(Secret),
    Signed { secret: Secret, claims: Claims },
}

impl Identity {
    fn of(command: &ProbeCommand) -> Result<Identity, Failure> {
        if let Some(token) = &command.token {
            return Ok(Identity::Token(token.clone()));
        }
        let Some(file) = &command.secret_file else { return Ok(Identity::Nobody) };
        let text = fs::read_to_string(file).map_err(|source| Failure::Input { file: file.display().to_string(), source })?;
        let secret = text.trim_end_matches(['\r', '\n']).to_owned();
        if secret.is_empty() {
            return Err(Failure::Usage(format!("--secret-file {}: is empty", file.display())));
        }
        let claims = Claims {
            user: command.user.clone(),
            channel: None,
            info: None,
            ttl_s: TOKEN_TTL_S,
            audience: command.audience.clone(),
            issuer: command.issuer.clone(),
        };
        Ok(Identity::Signed { secret: Secret::new(secret), claims })
    }

    fn token(&self) -> Result<Option<String>, Failure> {
        match self {
            Identity::Nobody => Ok(None),
            Identity::Token(token) => Ok(Some(token.expose().to_owned())),
            Identity::Signed { secret, claims } => {
                token::sign(claims, secret, clock::now()).map(Some).map_err(|error| Failure::Usage(error.to_string()))
            }
        }
    }
}
