//! I/O: the connections of a gateway to the counter nodes of its region: one to each address that is configured or was
//! learned, dialed again and again, and given up when it is silent.

use crate::{
    lanes::{Input, LinkId},
    remote::{Inner, Remote},
};
use peering::{
    End, Stream,
    party::{HANDSHAKE, REDIAL, speak},
    stream::{Reader, read_frame},
};
use protocol::{
    peer::{FRAME_BYTES_MAX, Message, Refused},
    producer::Read,
};
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

/// Messages that wait for one connection; one that lags by so many is closed. Their bytes are bounded by the lanes.
const MESSAGES_MAX: usize = 16_384;
/// How often a replica is asked whether it is there.
const PING: Duration = Duration::from_millis(500);
/// A replica from which nothing has come for so long is given up.
const SILENT_MS: u64 = 2_000;
/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(50);

impl Remote {
    /// Keeps the connections until `shutdown` completes.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let mut tasks = JoinSet::new();
        let inner = Arc::clone(&self.inner);
        tasks.spawn(async move {
            let mut ticks = interval(TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                inner.drive(|_| vec![Input::Tick]);
            }
        });
        tokio::pin!(shutdown);
        loop {
            for address in self.inner.take_new() {
                // At random, so that gateways with the same list do not all count at the same node.
                let rank = usize::try_from((self.inner.config.random_u64)() >> 32).unwrap_or_default();
                tasks.spawn(Arc::clone(&self.inner).keep(address, rank));
            }
            tokio::select! {
                () = self.inner.learns.notified() => {}
                Some(_) = tasks.join_next() => {}
                () = &mut shutdown => break,
            }
        }
        tasks.shutdown().await;
    }
}

impl Inner {
    /// The addresses that are to be dialed, and are not yet.
    fn take_new(&self) -> Vec<String> {
        let mut state = self.state.lock();
        let wanted = self.config.seeds.iter().chain(&state.learned);
        let new: BTreeSet<String> = wanted.filter(|address| !state.troubles.contains_key(*address)).cloned().collect();
        for address in &new {
            state.troubles.insert(address.clone(), Some("not connected yet".to_owned()));
        }
        new.into_iter().collect()
    }

    /// Whether an address is to be dialed still; if not, it is forgotten.
    fn is_wanted(&self, address: &String) -> bool {
        let mut state = self.state.lock();
        let is_wanted = self.config.seeds.contains(address) || state.learned.contains(address);
        if !is_wanted {
            state.troubles.remove(address);
        }
        is_wanted
    }

    async fn keep(self: Arc<Inner>, address: String, rank: usize) {
        let address = &address;
        let mut said = String::new();
        while self.is_wanted(address) {
            let (sender, messages) = mpsc::channel(MESSAGES_MAX);
            let end = match timeout(HANDSHAKE, self.greet(address)).await.unwrap_or(Err(End::Late)) {
                Ok((stream, member)) => {
                    let link = self.up(address, rank, sender.clone());
                    // The lanes hold the other one: when they drop it, the connection ends.
                    let sender = sender.downgrade();
                    tracing::info!(address, node = member, link, "counter node: connected");
                    said.clear();
                    let end = self.converse(link, stream, sender, messages).await;
                    tracing::warn!(address, node = member, link, %end, "counter node: disconnected");
                    if let End::Poison(why) = &end {
                        self.config.party.offended(&member, why);
                    }
                    self.down(address, link, end.to_string());
                    end
                }
                Err(end) => {
                    self.state.lock().troubles.insert(address.clone(), Some(end.to_string()));
                    end
                }
            };
            // Once for each reason, for it is dialed twice a second.
            let why = end.to_string();
            if why != said {
                tracing::warn!(address, %end, "counter node: not connected");
                said = why;
            }
            sleep(REDIAL / 2 + REDIAL.mul_f64(((self.config.random_u64)() % 1000) as f64 / 1000.0)).await;
        }
    }

    /// Connects, and is let in: only then the first question is answered.
    async fn greet(&self, address: &str) -> Result<(Stream, String), End> {
        let (mut stream, hello) = self.config.party.dial(address).await?;
        if hello.producer {
            return Err(End::Refused("it is a gateway, and no counter node".to_owned()));
        }
        stream.write(Message::Read(Read::default())).await?;
        match stream.read(FRAME_BYTES_MAX).await? {
            Some(Message::Answer(_)) => Ok((stream, format!("{}/{}", hello.region, hello.node))),
            Some(Message::Refused(refused)) => Err(refused.into()),
            _ => Err(End::Refused("it does not serve gateways: is it of an older version?".to_owned())),
        }
    }

    async fn converse(&self, link: LinkId, stream: Stream, sender: mpsc::WeakSender<Message>, messages: mpsc::Receiver<Message>) -> End {
        let heard_ms = AtomicU64::new((self.config.clock)().mono_ms);
        tokio::select! {
            end = self.listen(link, stream.reader, &heard_ms) => end,
            end = speak(stream.writer, messages) => end,
            end = self.watch_over(sender, &heard_ms) => end,
        }
    }

    async fn listen(&self, link: LinkId, mut reader: Reader, heard_ms: &AtomicU64) -> End {
        loop {
            let heard = || heard_ms.store((self.config.clock)().mono_ms, Ordering::Relaxed);
            let message = match read_frame(&mut reader, FRAME_BYTES_MAX, heard).await {
                Ok(message) => message,
                Err(unfit) => return unfit.into(),
            };
            heard();
            match message {
                Some(Message::Refused(Refused { reason })) => {
                    // It ends the connection when it has answered what was asked.
                    tracing::info!(link, "counter node: leaving, for {reason:.200}");
                    self.drive(|_| vec![Input::Leaving(link)]);
                }
                Some(message) => self.received(link, message),
                None => {}
            }
        }
    }

    async fn watch_over(&self, sender: mpsc::WeakSender<Message>, heard_ms: &AtomicU64) -> End {
        loop {
            sleep(PING).await;
            if heard_ms.load(Ordering::Relaxed) + SILENT_MS < (self.config.clock)().mono_ms {
                return End::Late;
            }
            let Some(sender) = sender.upgrade() else { return End::Closed };
            // Its queue is full: then it has enough to answer.
            _ = sender.try_send(Message::Read(Read::default()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{engine::Ack, remote::RemoteConfig};
    use peering::Party;
    use prometheus::Registry;
    use protocol::{peer::Hello, producer::Answer, time::Now};

    fn remote(seeds: &[&str]) -> Remote {
        let config = RemoteConfig {
            party: Arc::new(Party::new(Hello::default(), b"sixteen bytes it has".to_vec(), None, || 1)),
            seeds: seeds.iter().map(|&seed| seed.to_owned()).collect(),
            default_ack: Ack::Fsync,
            clock: Now::default,
            random_u64: || 1,
        };
        Remote::new(config, &Registry::new()).unwrap()
    }

    async fn until(remote: &Remote, expected: &[&str], absent: &str) {
        let shows = || remote.trouble().is_some_and(|why| expected.iter().all(|part| why.contains(part)) && !why.contains(absent));
        while !shows() {
            sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn what_is_learned_is_dialed_until_it_is_told_of_no_more_and_what_is_configured_for_ever() {
        let remote = remote(&["127.0.0.1:1"]);
        let running = tokio::spawn(remote.clone().run(std::future::pending()));
        remote.learn(BTreeSet::from(["127.0.0.1:2".to_owned(), "127.0.0.1:1".to_owned()]));
        until(&remote, &["127.0.0.1:1: Connection refused", "127.0.0.1:2: Connection refused"], "nobody").await;
        remote.learn(BTreeSet::from(["127.0.0.1:3".to_owned()]));
        until(&remote, &["127.0.0.1:1: Connection refused", "127.0.0.1:3: Connection refused"], "127.0.0.1:2").await;
        remote.learn(BTreeSet::new());
        until(&remote, &["127.0.0.1:1: Connection refused"], "127.0.0.1:3").await;
        running.abort();
    }

    #[tokio::test]
    async fn a_read_before_any_counter_node_is_connected_waits_for_one() {
        let remote = remote(&[]);
        let read = Read { keys: vec!["likes".to_owned()], ..Read::default() };
        let asking = tokio::spawn({
            let remote = remote.clone();
            async move { remote.ask(read).await }
        });
        tokio::task::yield_now().await;
        assert!(!asking.is_finished());
        let (sender, mut messages) = mpsc::channel(MESSAGES_MAX);
        let link = remote.inner.up("c1", 0, sender);
        let id = loop {
            if let Some(Message::Read(Read { id, .. })) = messages.recv().await {
                break id;
            }
        };
        remote.inner.received(link, Message::Answer(Answer { id, ..Answer::default() }));
        assert!(asking.await.unwrap().is_ok());
    }
}
