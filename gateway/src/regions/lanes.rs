//! I/O: what is done with the channels that are followed in another region: of one channel one thing after the other, of many at once.

use super::{follows::Input, metrics::RegionMetrics};
use crate::{
    bus::{
        import::{Import, Imported},
        stream::Retention,
    },
    gateway::Gateway,
    hub::broadcast::Broadcast,
};
use parking_lot::Mutex;
use protocol::{message::Publication, name::Channel};
use std::sync::Arc;
use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::JoinSet,
};
use xxhash_rust::xxh3::xxh3_64;

/// Channels that are seen to at the same time.
const LANES: usize = 32;
/// What waits in one lane. While it is full nothing is read from the region, which waits, too.
const JOBS_MAX: usize = 64;

/// Something to do with a channel.
pub(super) enum Job {
    /// Read what is known of it.
    Read(Channel),
    /// Take a piece of the region's stream into it.
    Import(Channel, Import),
    /// Give it to the subscribers of this gateway.
    Deliver(Channel, Publication),
    /// Tell whoever waits that what came before is done.
    Ready(Channel, Vec<oneshot::Sender<()>>),
}

impl Job {
    fn channel(&self) -> &Channel {
        match self {
            Job::Read(channel) | Job::Import(channel, _) | Job::Deliver(channel, _) | Job::Ready(channel, _) => channel,
        }
    }
}

/// What came of jobs, to be taken in by whoever gave them: one word for each at most.
#[derive(Default)]
struct Results {
    inputs: Mutex<Vec<Input>>,
    some: Notify,
}

/// The lanes of one region. Dropped, they end.
pub(super) struct Lanes {
    lanes: Vec<mpsc::Sender<Job>>,
    results: Arc<Results>,
    _tasks: JoinSet<()>,
}

impl Lanes {
    pub(super) fn new(gateway: &Arc<Gateway>, region: &Arc<str>, metrics: &RegionMetrics) -> Lanes {
        let (results, mut tasks) = (Arc::<Results>::default(), JoinSet::new());
        let lane = |_| {
            let (sender, jobs) = mpsc::channel(JOBS_MAX);
            tasks.spawn(run(gateway.clone(), region.clone(), metrics.clone(), jobs, results.clone()));
            sender
        };
        Lanes { lanes: (0..LANES).map(lane).collect(), results, _tasks: tasks }
    }

    /// Puts a job behind those of the same channel; waits while there are too many.
    #[allow(clippy::cast_possible_truncation)] // only the low bits choose a lane
    pub(super) async fn put(&self, job: Job) {
        let lane = xxh3_64(job.channel().as_str().as_bytes()) as usize % LANES;
        // Lanes end with this.
        _ = self.lanes[lane].send(job).await;
    }

    /// What has come of jobs; waits until there is something. May be cancelled.
    pub(super) async fn results(&self) -> Vec<Input> {
        loop {
            let inputs = std::mem::take(&mut *self.results.inputs.lock());
            if !inputs.is_empty() {
                return inputs;
            }
            self.results.some.notified().await;
        }
    }
}

async fn run(gateway: Arc<Gateway>, region: Arc<str>, metrics: RegionMetrics, mut jobs: mpsc::Receiver<Job>, results: Arc<Results>) {
    while let Some(job) = jobs.recv().await {
        let input = match job {
            Job::Read(channel) => match gateway.bus.known(&channel, &region, (gateway.clock)()).await {
                Ok(known) => Some(Input::Known(channel, known)),
                Err(error) => {
                    tracing::debug!(%channel, %region, %error, "what is known of another region's stream cannot be read for now");
                    Some(Input::Unknown(channel))
                }
            },
            Job::Import(channel, piece) => {
                let (is_lost, begins, place) = (piece.publication.is_none() && !piece.begins, piece.begins, piece.at.clone());
                match import(&gateway, &channel, piece).await {
                    Ok(imported) => {
                        if is_lost && imported == Imported::Taken {
                            metrics.lost.inc();
                        } else if !begins {
                            metrics.imported(&imported);
                        }
                        Some(if imported == Imported::Behind { Input::Behind(channel) } else { Input::Imported(channel, place) })
                    }
                    Err(error) => {
                        tracing::debug!(%channel, %region, error, "another region's publication is not taken in; it is asked for again");
                        Some(Input::Behind(channel))
                    }
                }
            }
            Job::Deliver(channel, publication) => {
                gateway.hub.deliver(&Broadcast::publication(channel, Arc::default(), publication));
                None
            }
            Job::Ready(_, waiting) => {
                waiting.into_iter().for_each(|waiting| _ = waiting.send(()));
                None
            }
        };
        if let Some(input) = input {
            results.inputs.lock().push(input);
            results.some.notify_one();
        }
    }
}

async fn import(gateway: &Gateway, channel: &Channel, import: Import) -> Result<Imported, String> {
    let namespace = gateway.rules.namespaces.of_channel(channel).map_err(|error| error.to_string())?;
    if let Some(retention) = Retention::of(namespace) {
        return gateway.bus.import(channel, retention, import, (gateway.clock)()).await.map_err(|error| error.to_string());
    }
    // It is kept there and not here.
    if let Some(publication) = import.publication {
        let publication = Publication { offset: 0, region: import.region.as_ref().to_owned(), ..publication };
        gateway.hub.deliver(&Broadcast::publication(channel.clone(), Arc::default(), publication));
    }
    Ok(Imported::Taken)
}
