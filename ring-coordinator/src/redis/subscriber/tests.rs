use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// A server: answers in order, and holds what is subscribed to.
#[derive(Default)]
struct Server {
    subscribed: BTreeSet<String>,
    answers: VecDeque<Reply>,
    commands: Vec<usize>,
}

impl Server {
    fn take(&mut self, bytes: &[u8]) {
        let mut received = bytes::BytesMut::from(bytes);
        while let Some(command) = Reply::read(&mut received).unwrap() {
            let words: Vec<String> = command.array().unwrap().iter().map(|word| word.text().unwrap().to_owned()).collect();
            self.commands.push(words.len() - 1);
            for channel in &words[1..] {
                match words[0].as_str() {
                    "SUBSCRIBE" => self.subscribed.insert(channel.clone()),
                    _ => self.subscribed.remove(channel),
                };
                let kind = words[0].to_lowercase();
                let (kind, name) = (Reply::Bulk(kind.into()), Reply::Bulk(channel.clone().into()));
                self.answers.push_back(Reply::Array(vec![kind, name, Reply::Integer(0)]));
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Want(u8, bool),
    Unwant(u8),
    Write(u64),
    Answer,
    Reconnect,
    Disconnect,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0u8..6, any::<bool>()).prop_map(|(channel, is_hot)| Step::Want(channel, is_hot)),
        4 => (0u8..6).prop_map(Step::Unwant),
        4 => (0u64..30).prop_map(Step::Write),
        6 => Just(Step::Answer),
        1 => Just(Step::Reconnect),
        1 => Just(Step::Disconnect),
    ];
    proptest::collection::vec(step, 0..120)
}

fn name(channel: u8) -> Arc<str> {
    format!("c{channel}").into()
}

proptest! {
    #[test]
    fn whatever_happens_the_wanted_channels_and_no_others_are_listened_for_in_the_end(steps in steps()) {
        let (mut subscriber, mut server, mut now_ms) = (Subscriber::default(), Server::default(), 0);
        // Whether each wanted channel was confirmed since it was wanted and connected.
        let mut wanted: BTreeMap<Arc<str>, bool> = BTreeMap::new();
        subscriber.connected(0, 0);
        let mut is_connected = true;
        let write = |subscriber: &mut Subscriber, server: &mut Server, now_ms| {
            let mut out = Vec::new();
            let again = subscriber.write(now_ms, &mut out);
            server.take(&out);
            again
        };
        let answer = |subscriber: &mut Subscriber, server: &mut Server, wanted: &mut BTreeMap<Arc<str>, bool>| {
            let Some(reply) = server.answers.pop_front() else { return false };
            if let Fact::Confirmed(channel) = subscriber.read(reply).unwrap() {
                assert!(server.subscribed.contains(channel.as_ref()), "{channel} is not listened for");
                assert_eq!(wanted.insert(Arc::clone(&channel), true), Some(false), "{channel} is not waited for");
            }
            true
        };
        for step in steps {
            match step {
                Step::Want(channel, is_hot) => {
                    subscriber.want(&name(channel), is_hot);
                    wanted.entry(name(channel)).or_insert(false);
                }
                Step::Unwant(channel) => {
                    subscriber.unwant(&name(channel));
                    wanted.remove(&name(channel));
                }
                Step::Write(pause_ms) if is_connected => {
                    now_ms += pause_ms;
                    write(&mut subscriber, &mut server, now_ms);
                }
                Step::Answer if is_connected => _ = answer(&mut subscriber, &mut server, &mut wanted),
                Step::Write(_) | Step::Answer => {}
                Step::Reconnect | Step::Disconnect => {
                    server = Server::default();
                    wanted.values_mut().for_each(|is_confirmed| *is_confirmed = false);
                    is_connected = matches!(step, Step::Reconnect);
                    if is_connected { subscriber.connected(now_ms, 7) } else { subscriber.disconnected() }
                }
            }
            for channel in wanted.keys().filter(|channel| subscriber.is_confirmed(channel)) {
                prop_assert!(server.subscribed.contains(channel.as_ref()));
            }
        }
        if !is_connected {
            subscriber.connected(now_ms, 7);
        }
        loop {
            now_ms += 1;
            let again = write(&mut subscriber, &mut server, now_ms);
            if !answer(&mut subscriber, &mut server, &mut wanted) && again.is_none() {
                break;
            }
        }
        let listened: BTreeSet<String> = wanted.keys().map(|channel| channel.to_string()).collect();
        prop_assert_eq!(&server.subscribed, &listened);
        prop_assert!(wanted.values().all(|is_confirmed| *is_confirmed));
        prop_assert_eq!((subscriber.confirmed(), subscriber.pending(), subscriber.channels.len()), (wanted.len(), 0, wanted.len()));
    }
}

#[test]
fn after_a_reconnect_hot_channels_come_first_and_the_rest_paced_in_whole_batches() {
    let (mut subscriber, mut server) = (Subscriber::default(), Server::default());
    for number in 0..20_000 {
        subscriber.want(&format!("cold{number}").into(), false);
    }
    subscriber.want(&"hot".into(), true);
    subscriber.connected(1_000, 500);
    let (mut now_ms, mut first_cold_ms, mut last_ms) = (1_000, 0, 0);
    while subscriber.pending() > 0 {
        let mut out = Vec::new();
        let again = subscriber.write(now_ms, &mut out);
        server.take(&out);
        while let Some(reply) = server.answers.pop_front() {
            if let Fact::Confirmed(channel) = subscriber.read(reply).unwrap() {
                assert!(channel.as_ref() != "hot" || now_ms == 1_000);
                if channel.as_ref() != "hot" && first_cold_ms == 0 {
                    first_cold_ms = now_ms;
                }
                last_ms = now_ms;
            }
        }
        now_ms = again.unwrap_or(now_ms + 1);
    }
    assert_eq!(first_cold_ms, 1_500);
    // 20,000 in a second, less the burst.
    assert!((2_450..=2_500).contains(&last_ms), "{last_ms}");
    let whole = server.commands.iter().filter(|channels| **channels == BATCH_CHANNELS).count();
    assert!(whole >= server.commands.len() - 3, "{:?}", server.commands);
}

#[test]
fn a_node_that_confirms_nothing_is_not_asked_for_more() {
    for (is_hot, unconfirmed) in [(true, UNCONFIRMED_MAX), (false, UNCONFIRMED_COLD_MAX)] {
        let (mut subscriber, mut server) = (Subscriber::default(), Server::default());
        subscriber.connected(0, 0);
        for number in 0..10_000 {
            subscriber.want(&format!("c{number}").into(), is_hot);
        }
        for now_ms in 0..5_000 {
            let mut out = Vec::new();
            subscriber.write(now_ms, &mut out);
            server.take(&out);
        }
        assert_eq!(server.answers.len(), unconfirmed);
    }
}

#[test]
fn publications_are_handed_on_between_confirmation_and_unwanting() {
    let (mut subscriber, mut server) = (Subscriber::default(), Server::default());
    let channel: Arc<str> = "c".into();
    let message = || Reply::Array(["message", "c", "x"].map(|word| Reply::Bulk(word.into())).to_vec());
    subscriber.connected(0, 0);
    subscriber.want(&channel, false);
    let mut out = Vec::new();
    subscriber.write(0, &mut out);
    server.take(&out);
    assert_eq!(subscriber.read(message()), Ok(Fact::Unwanted));
    assert_eq!(subscriber.read(server.answers.pop_front().unwrap()), Ok(Fact::Confirmed(Arc::clone(&channel))));
    assert_eq!(subscriber.read(message()), Ok(Fact::Message(Arc::clone(&channel), "x".into())));
    subscriber.unwant("c");
    assert_eq!(subscriber.read(message()), Ok(Fact::Unwanted));
    for nonsense in [Reply::Integer(1), Reply::Array(vec![]), Reply::Array(vec![Reply::Bulk("subscribe".into()); 3])] {
        assert!(matches!(subscriber.read(nonsense), Err(End::Nonsense(_))));
    }
    assert!(matches!(subscriber.read(Reply::Error("NOPERM no".into())), Err(End::Denied(_))));
}
