//! I/O: a flood of lines of the log is kept from hiding everything else, and from filling the disk: of one event only so many lines are
//! written in a window, and one line tells how many more there were. It is ours because what is limited is the place in the code;
//! libraries for it tell lines apart by what they say, which whoever floods can change at will.

mod window;

use self::window::Window;
use crate::clock;
use parking_lot::Mutex;
use prometheus::{IntCounterVec, Opts, Registry};
use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    callsite::Identifier,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{Layer, layer::Context};

/// The target of lines that tell what was left out. They have no limit: there is at most one for each event and window.
pub const TOLD: &str = "node::flood";
/// How often is looked for windows that are over.
const LOOK: Duration = Duration::from_secs(1);
const LEVELS: [Level; 5] = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];

/// The limit, and what it has left out. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Flood(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: AtomicU32,
    /// One for each event that was ever written: as many as there are places in the code. Lines that come by way of the crate `log`
    /// have one place for each level.
    windows: Mutex<HashMap<Identifier, (&'static Metadata<'static>, Window)>>,
    left_out: IntCounterVec,
}

impl Flood {
    /// At most `most` lines of one event in a window; 0: any number.
    pub fn new(most: u32) -> prometheus::Result<Flood> {
        let left_out = Opts::new("headcount_log_lines_left_out_total", "Lines of the log that were left out, by level.");
        let left_out = IntCounterVec::new(left_out, &["level"])?;
        for level in LEVELS {
            left_out.with_label_values(&[&label(level)]);
        }
        Ok(Flood(Arc::new(Shared { most: most.into(), windows: Mutex::default(), left_out })))
    }

    /// From here on the limit is another one.
    pub fn set(&self, most: u32) {
        self.0.most.store(most, Ordering::Relaxed);
    }

    /// Shows what was left out among the metrics.
    pub fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.0.left_out.clone()))
    }

    /// Tells of what was left out, for ever.
    pub async fn run(self) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.tell(false);
        }
    }

    /// Tells of what was left out in windows that are over; in all of them, if it is the `last` word.
    pub fn tell(&self, last: bool) {
        let now_ms = clock::now().mono_ms;
        let ended = |(metadata, window): &mut (&'static Metadata<'static>, Window)| Some((*metadata, window.end(last, now_ms)?));
        // The lock is not held while lines are written.
        let told: Vec<_> = self.0.windows.lock().values_mut().filter_map(ended).collect();
        for (metadata, left_out) in told {
            let (event, message, lines) = (metadata.target(), left_out.message, left_out.lines);
            let level = label(*metadata.level());
            if *metadata.level() == Level::ERROR {
                tracing::error!(target: TOLD, event, message_was = message, level_was = level, lines, "lines were left out");
            } else {
                tracing::warn!(target: TOLD, event, message_was = message, level_was = level, lines, "lines were left out");
            }
        }
    }

    /// Whether a line is written; one that is not is counted.
    fn admits(&self, event: &Event<'_>) -> bool {
        let metadata = event.metadata();
        if metadata.target() == TOLD {
            return true;
        }
        let most = self.0.most.load(Ordering::Relaxed);
        let mut windows = self.0.windows.lock();
        let (_, window) = windows.entry(metadata.callsite()).or_insert_with(|| (metadata, Window::default()));
        let admitted = window.admits(most, clock::now().mono_ms, || message(event));
        drop(windows);
        if !admitted {
            self.0.left_out.with_label_values(&[&label(*metadata.level())]).inc();
        }
        admitted
    }
}

/// Passes spans, and those lines that there is room for. A filter could not do that: what every filter refuses only once it has seen
/// the event itself leaves the bookkeeping of `tracing-subscriber` unfinished.
pub(crate) struct Limited<L> {
    lines: L,
    flood: Option<Flood>,
}

impl<L> Limited<L> {
    /// Without `flood` everything passes.
    pub(crate) fn new(lines: L, flood: Option<Flood>) -> Limited<L> {
        Limited { lines, flood }
    }
}

impl<S: Subscriber, L: Layer<S>> Layer<S> for Limited<L> {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if self.flood.as_ref().is_none_or(|flood| flood.admits(event)) {
            self.lines.on_event(event, context);
        }
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.lines.on_new_span(attributes, id, context);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        self.lines.on_record(id, values, context);
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        self.lines.on_enter(id, context);
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        self.lines.on_exit(id, context);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        self.lines.on_close(id, context);
    }
}

fn label(level: Level) -> String {
    level.as_str().to_lowercase()
}

/// What a line says, without its fields.
fn message(event: &Event<'_>) -> String {
    struct Message(String);
    impl Visit for Message {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            if field.name() == "message" {
                self.0 = format!("{value:?}");
            }
        }
    }
    let mut message = Message(String::new());
    event.record(&mut message);
    message.0
}
