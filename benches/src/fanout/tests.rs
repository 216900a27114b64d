//! The load generator at the practical limit: that it counts what there is, and sees what is missing.

use super::{
    dialect::{Dialect, Speech},
    on_one_thread,
    publisher::Publisher,
    raw,
    subscribers::{Clock, Subscribers},
};
use std::time::Duration;
use tokio::{
    net::TcpListener,
    task::{JoinHandle, LocalSet, spawn_blocking},
};

/// Subscribers in all, and channels that they are in.
const SUBSCRIBERS: usize = 50;
const CHANNELS: usize = 5;

struct Scene {
    subscribers: Subscribers,
    publisher: Publisher,
    server: JoinHandle<anyhow::Result<()>>,
}

impl Scene {
    async fn begin(channels: usize, is_events: bool) -> Scene {
        let listener = raw::listen().unwrap().into_std().unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(on_one_thread(move || async move { raw::serve(TcpListener::from_std(listener)?).await }));
        let (clock, dialect) = (Clock::start(), Dialect { speech: Speech::Plain, is_events });
        let channels: Vec<String> = (0..channels).map(|number| format!("c{number}")).collect();
        let mut subscribers = Subscribers::of(address, dialect, clock);
        let wishes = (0..SUBSCRIBERS).map(|number| (channels[number % channels.len()].clone(), String::new()));
        subscribers.add(wishes.collect()).await.unwrap();
        let publisher = Publisher::connect(address, dialect, "", clock, channels).await.unwrap();
        Scene { subscribers, publisher, server }
    }
}

#[tokio::test]
async fn each_delivery_is_counted_once_over_websocket_and_events() {
    for is_events in [false, true] {
        let each = async {
            let Scene { subscribers, mut publisher, .. } = Scene::begin(CHANNELS, is_events).await;
            let published = spawn_blocking(move || publisher.paced(40, 400).map(|published| (published, publisher)));
            let (published, _publisher) = published.await.unwrap().unwrap();
            subscribers.settle(400).await;
            let tally = subscribers.tally();
            assert_eq!((published.messages, tally.received, tally.fault(400)), (40, 400, None), "events: {is_events}");
            assert!(tally.reads >= 50 && tally.latency.ms_at(1.0) > 0.0);
            // One more was to come.
            assert_eq!(tally.fault(401), Some("1 lost of 401".to_owned()));
        };
        LocalSet::new().run_until(each).await;
    }
}

#[tokio::test]
async fn a_message_that_is_missing_and_a_connection_that_ends_are_seen() {
    let missing = async {
        let Scene { subscribers, mut publisher, server } = Scene::begin(CHANNELS, false).await;
        publisher.burst().unwrap();
        publisher.skip();
        publisher.burst().unwrap();
        subscribers.settle(100).await;
        assert_eq!((subscribers.tally().received, subscribers.tally().skipped), (100, 10));
        server.abort();
        assert!(server.await.unwrap_err().is_cancelled());
        testkit::eventually(Duration::from_secs(10), async || match subscribers.tally().closed {
            50 => Ok(()),
            closed => Err(format!("{closed} closed")),
        })
        .await;
    };
    LocalSet::new().run_until(missing).await;
}

#[tokio::test]
async fn a_window_moves_on_with_the_deliveries_to_all_and_ends_with_the_last_one() {
    let window = async {
        let Scene { subscribers, mut publisher, .. } = Scene::begin(1, false).await;
        let watched = subscribers.watch(publisher.next());
        let watching = watched.clone();
        let work = spawn_blocking(move || publisher.windowed(4, Duration::from_millis(200), &watching).map(|done| (done, publisher)));
        let (published, _publisher) = work.await.unwrap().unwrap();
        assert!(published.messages > 4 && !published.has_stalled, "{published:?}");
        subscribers.settle(published.messages * SUBSCRIBERS as u64).await;
        assert_eq!(subscribers.tally().fault(published.messages * SUBSCRIBERS as u64), None);
        assert_eq!(watched.completed.load(std::sync::atomic::Ordering::Relaxed), published.messages);
    };
    LocalSet::new().run_until(window).await;
}
