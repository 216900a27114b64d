//! Pure: what one client's queue and one channel's subscribers do, at their bounds above all.

mod outbox {
    use crate::hub::{
        broadcast::{Broadcast, Kind, Wire},
        outbox::{Control, Item, Outbox},
    };
    use bytes::Bytes;
    use protocol::{code::Disconnect, message::StreamPosition, name::Channel};
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::{Context, Wake, Waker},
    };

    /// How often a task was woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Woken>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn state(channel: &str, kind: Kind, data: &str) -> Arc<Broadcast> {
        Broadcast::state(
            Channel::parse(channel).unwrap(),
            kind,
            &StreamPosition { offset: 1, epoch: String::new() },
            Bytes::from(data.to_owned()),
        )
    }

    fn own(size: usize) -> Item {
        Item::Own(vec![b'x'; size].into())
    }

    fn taken(outbox: &Outbox) -> Vec<Item> {
        let mut batch = Vec::new();
        assert!(outbox.take(&mut batch, usize::MAX).is_empty(), "no controls");
        batch
    }

    #[test]
    fn a_client_that_does_not_read_is_closed_with_3008_and_holds_nothing() {
        let outbox = Outbox::new(Wire::Json, 100, None);
        outbox.push(own(60));
        outbox.push(own(60));
        outbox.push(own(1));
        let mut batch = Vec::new();
        assert_eq!(outbox.take(&mut batch, usize::MAX), [Control::Close(Disconnect::Slow)]);
        assert!(batch.is_empty());
        assert_eq!(outbox.queued_bytes(), 0);
    }

    #[test]
    fn of_a_counter_only_the_newest_value_waits() {
        let outbox = Outbox::new(Wire::Json, 1000, None);
        outbox.push(own(1));
        for value in 0..10_000 {
            outbox.push_latest(&state("counter:likes", Kind::Counter, &value.to_string()));
            outbox.push_latest(&state("counter:views", Kind::Counter, "7"));
        }
        let batch = taken(&outbox);
        assert_eq!(batch.len(), 3);
        let Item::Broadcast(likes) = &batch[1] else { panic!("{batch:?}") };
        assert!(String::from_utf8_lossy(likes.encoded(Wire::Json)).contains("9999"));
        assert_eq!(outbox.queued_bytes(), 0);
    }

    #[test]
    fn changes_of_a_roster_that_pile_up_become_one_snapshot() {
        let outbox = Outbox::new(Wire::Json, 1000, None);
        for change in 0..10_000 {
            outbox.push_latest(&state("presence:room", Kind::Roster, &format!("{change:05}")));
        }
        assert!(matches!(&taken(&outbox)[..], [Item::Snapshot(channel)] if channel.as_str() == "presence:room"));
    }

    #[test]
    fn a_task_that_is_at_it_is_not_woken_but_can_be_interrupted() {
        let outbox = Outbox::new(Wire::Json, 100, None);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let wakes = |what: &dyn Fn()| {
            assert!(outbox.poll_empty(&Context::from_waker(&waker)));
            let before = woken.0.load(Ordering::Relaxed);
            what();
            let wakes = woken.0.load(Ordering::Relaxed) - before;
            outbox.take(&mut Vec::new(), usize::MAX);
            outbox.take(&mut Vec::new(), usize::MAX);
            wakes
        };
        assert_eq!(wakes(&|| outbox.push(own(1))), 1);
        let at_it = |what: &dyn Fn()| {
            wakes(&|| {
                outbox.hold();
                what();
            })
        };
        assert_eq!(at_it(&|| outbox.push(own(1))), 0);
        assert_eq!(at_it(&|| outbox.control(Control::Close(Disconnect::ForceDisconnect))), 1);
        assert_eq!(at_it(&|| outbox.push(own(101))), 1, "it is to end");
    }

    #[test]
    fn a_state_that_was_taken_is_not_replaced() {
        let outbox = Outbox::new(Wire::Json, 1000, None);
        outbox.push_latest(&state("counter:a", Kind::Counter, "1"));
        outbox.push(own(1));
        let mut batch = Vec::new();
        outbox.take(&mut batch, 1);
        outbox.push_latest(&state("counter:a", Kind::Counter, "2"));
        assert_eq!((batch.len(), taken(&outbox).len()), (1, 2));
    }
}

mod topic {
    use crate::hub::{
        batch::Batch,
        broadcast::{Broadcast, Kind, Wire},
        outbox::{Control, Item, Outbox},
        topic::{HELD_MAX, HoldOverflow, Topic},
    };
    use protocol::{
        code::UnsubscribeCode,
        message::{Publication, StreamPosition},
        name::Channel,
    };
    use std::sync::Arc;

    fn at(offset: u64) -> StreamPosition {
        StreamPosition { offset, epoch: "e".into() }
    }

    fn publication(offset: u64) -> Arc<Broadcast> {
        let publication = Publication { offset, ..Publication::default() };
        Broadcast::publication(Channel::parse("a").unwrap(), "e".into(), publication)
    }

    fn deliver(topic: &mut Topic, push: Arc<Broadcast>) {
        assert_eq!(topic.deliver(&Batch::new(vec![push]), 0, 100), None);
    }

    fn offsets(outbox: &Outbox) -> Vec<u64> {
        let mut batch = Vec::new();
        outbox.take(&mut batch, usize::MAX);
        batch.iter().map(|item| if let Item::Broadcast(broadcast) = item { broadcast.offset } else { 0 }).collect()
    }

    #[test]
    fn nothing_is_delivered_before_the_reply_and_nothing_twice_or_never_after_it() {
        let (mut topic, outbox) = (Topic::default(), Arc::new(Outbox::new(Wire::Json, 10_000, None)));
        topic.add(1, outbox.clone(), false);
        for offset in 5..=8 {
            deliver(&mut topic, publication(offset));
        }
        assert!(offsets(&outbox).is_empty());
        assert_eq!(topic.open(1, at(6)), Ok(()));
        // What was read from history may arrive after it was read.
        deliver(&mut topic, publication(6));
        deliver(&mut topic, publication(9));
        assert_eq!(offsets(&outbox), [7, 8, 9]);
    }

    #[test]
    fn whoever_is_told_of_a_loss_hears_nothing_more_but_an_event_source_goes_on() {
        let of = |wire| Arc::new(Outbox::new(wire, 10_000, None));
        let (mut topic, open, beginning, events) = (Topic::default(), of(Wire::Json), of(Wire::Json), of(Wire::Event));
        let channel = Channel::parse("a").unwrap();
        for (connection, outbox) in [(1, &open), (2, &beginning), (3, &events)] {
            topic.add(connection, outbox.clone(), false);
        }
        topic.open(1, at(5)).unwrap();
        topic.open(3, at(5)).unwrap();
        topic.lose(&channel, &at(8));
        deliver(&mut topic, publication(9));
        let mut batch = Vec::new();
        assert_eq!(open.take(&mut batch, usize::MAX), [Control::Unsubscribe(channel, UnsubscribeCode::InsufficientState)]);
        assert!(batch.is_empty());
        assert_eq!(topic.open(2, at(5)), Err(HoldOverflow), "it starts anew too");
        assert_eq!(offsets(&events), [8, 9]);
    }

    #[test]
    fn a_flood_during_subscribe_fails_it_instead_of_growing() {
        let (mut topic, outbox) = (Topic::default(), Arc::new(Outbox::new(Wire::Json, 10_000, None)));
        topic.add(1, outbox.clone(), false);
        for offset in 1..=HELD_MAX as u64 + 1 {
            deliver(&mut topic, publication(offset));
        }
        assert_eq!(topic.open(1, at(0)), Err(HoldOverflow));
        assert!(offsets(&outbox).is_empty());
    }

    #[test]
    fn join_and_leave_reach_those_who_asked() {
        let (mut topic, asked, not) =
            (Topic::default(), Arc::new(Outbox::new(Wire::Json, 10_000, None)), Arc::new(Outbox::new(Wire::Json, 10_000, None)));
        topic.add(1, asked.clone(), true);
        topic.add(2, not.clone(), false);
        topic.open(1, at(0)).unwrap();
        topic.open(2, at(0)).unwrap();
        deliver(&mut topic, Broadcast::join(Channel::parse("a").unwrap(), Default::default()));
        assert_eq!((offsets(&asked).len(), offsets(&not).len()), (1, 0));
    }
    #[test]
    fn a_word_that_a_roster_may_be_old_is_part_of_no_snapshot_and_keeps_its_place_among_the_changes() {
        let (mut topic, outbox) = (Topic::default(), Arc::new(Outbox::new(Wire::Json, 10_000, None)));
        let roster = || Channel::parse("presence:a").unwrap();
        topic.add(1, outbox.clone(), false);
        deliver(&mut topic, Broadcast::stale(roster(), true));
        topic.open(1, at(9)).unwrap();
        deliver(&mut topic, Broadcast::state(roster(), Kind::Roster, &at(10), "{}".into()));
        deliver(&mut topic, Broadcast::stale(roster(), false));
        deliver(&mut topic, Broadcast::state(roster(), Kind::Roster, &at(11), "{}".into()));
        let mut batch = Vec::new();
        outbox.take(&mut batch, usize::MAX);
        let text = |item: &Item| item.bytes(Wire::Json).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let texts: Vec<_> = batch.iter().map(text).collect();
        let [Some(first), None, Some(last)] = &texts[..] else { panic!("{texts:?}") };
        assert!(first.contains(r#"{"stale":true}"#) && last.contains(r#"{"stale":false}"#), "{texts:?}");
    }
}

mod of_channels {
    use crate::hub::{
        Hub,
        broadcast::{Broadcast, Wire},
        outbox::{Item, Outbox},
        topic::ConnectionId,
    };
    use protocol::{
        message::{Publication, StreamPosition},
        name::Channel,
        namespace::{Namespace, Namespaces},
        time::Now,
    };
    use std::{cell::Cell, sync::Arc};

    thread_local! {
        static NOW_MS: Cell<u64> = const { Cell::new(1_000) };
    }

    fn clock() -> Now {
        Now { mono_ms: NOW_MS.get(), wall_ms: 0 }
    }

    fn namespace(name: &str, flush_ms: u64) -> Namespace {
        Namespace { flush_ms, ..testkit::open_namespace(name) }
    }

    /// A hub, and a channel in it with so many subscribers.
    fn hub(channel: &str, subscribers: ConnectionId) -> (Hub, Channel, Vec<Arc<Outbox>>) {
        let hub = Hub::new(Namespaces::new(namespace("", 0), [namespace("slow", 100)]), clock);
        let channel = Channel::parse(channel).unwrap();
        let outboxes = (0..subscribers).map(|id| {
            let outbox = Arc::new(Outbox::new(Wire::Json, 100_000, None));
            hub.add(&channel, id, &outbox, false);
            hub.open(&channel, id, StreamPosition::default()).unwrap();
            outbox
        });
        let outboxes = outboxes.collect();
        (hub, channel, outboxes)
    }

    fn publish(hub: &Hub, channel: &Channel, offset: u64) {
        let publication = Publication { offset, ..Publication::default() };
        hub.deliver(&Broadcast::publication(channel.clone(), "e".into(), publication));
    }

    fn offsets(outbox: &Outbox) -> Vec<u64> {
        let mut batch = Vec::new();
        outbox.take(&mut batch, usize::MAX);
        outbox.take(&mut Vec::new(), usize::MAX); // lets others write again
        batch.iter().map(|item| if let Item::Broadcast(broadcast) = item { broadcast.offset } else { 0 }).collect()
    }

    #[test]
    fn a_quiet_channel_of_few_is_written_to_at_once_and_a_busy_one_when_its_turn_comes() {
        let (hub, channel, outboxes) = hub("room", 2);
        publish(&hub, &channel, 1);
        publish(&hub, &channel, 2);
        assert_eq!(offsets(&outboxes[0]), [1]);
        hub.flush();
        assert_eq!(offsets(&outboxes[0]), [2]);
        assert_eq!(offsets(&outboxes[1]), [1, 2]);
    }

    #[test]
    fn what_many_subscribe_to_waits_for_its_turn() {
        let (hub, channel, outboxes) = hub("room", 33);
        publish(&hub, &channel, 1);
        assert!(offsets(&outboxes[32]).is_empty());
        hub.flush();
        assert_eq!(offsets(&outboxes[32]), [1]);
    }

    #[test]
    fn a_namespace_that_gathers_is_written_to_once_in_its_time() {
        let (hub, channel, outboxes) = hub("slow:room", 1);
        NOW_MS.set(1_000);
        publish(&hub, &channel, 1);
        publish(&hub, &channel, 2);
        NOW_MS.set(1_099);
        publish(&hub, &channel, 3);
        hub.flush();
        assert_eq!(offsets(&outboxes[0]), [1], "the first one waits for nothing");
        NOW_MS.set(1_100);
        hub.flush();
        assert_eq!(offsets(&outboxes[0]), [2, 3]);
        publish(&hub, &channel, 4);
        hub.flush();
        assert!(offsets(&outboxes[0]).is_empty());
    }

    #[test]
    fn what_was_delivered_before_somebody_came_or_went_is_for_those_who_were_there() {
        let (hub, channel, outboxes) = hub("slow:room", 2);
        publish(&hub, &channel, 1);
        publish(&hub, &channel, 2);
        let late = Arc::new(Outbox::new(Wire::Json, 100_000, None));
        hub.add(&channel, 7, &late, false);
        hub.open(&channel, 7, StreamPosition::default()).unwrap();
        publish(&hub, &channel, 3);
        assert!(hub.remove(&channel, 0));
        publish(&hub, &channel, 4);
        NOW_MS.set(9_000);
        hub.flush();
        assert_eq!(offsets(&outboxes[0]), [1, 2, 3]);
        assert_eq!(offsets(&late), [3, 4]);
    }
}
