//! I/O: drives one connection: feeds its session, carries out its orders, writes its outbox.

mod appearance;
mod ending;
mod opening;
mod pacing;
mod writing;

use crate::{
    gateway::Gateway,
    hub::{
        broadcast::{Broadcast, Kind, Wire},
        outbox::{Control, Item, Outbox},
        topic::ConnectionId,
    },
    replies,
    session::{Input, Order, Outcome, Session},
    transport::{Received, Transport},
};
use appearance::Unsettled;
pub(crate) use opening::{Opening, Verdict, run};
use pacing::Pacing;
use presence::Departure;
use protocol::{
    code::{Disconnect, ErrorCode, UnsubscribeCode},
    frame::{self, Frames},
    message::{Command, Reply, StreamPosition},
    name::Channel,
};
use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::sync::oneshot;
use tracing::Instrument;
use writing::BATCH_BYTES;

type RunningTask = Pin<Box<dyn Future<Output = Outcome> + Send>>;

struct Connection {
    gateway: Arc<Gateway>,
    id: ConnectionId,
    wire: Wire,
    native_ping: bool,
    closing: Option<Disconnect>,
    outbox: Arc<Outbox>,
    session: Session,
    /// The frame being read; the next one is not received before its end.
    frames: Option<Box<Frames<Command>>>,
    task: Option<RunningTask>,
    verdict: Option<oneshot::Sender<Verdict>>,
    /// When it is woken, on the monotonic clock.
    alarm_ms: Option<u64>,
    /// What comes after is said when everybody can see it.
    unsettled: Option<Box<Unsettled>>,
    pacing: Pacing,
}

impl Connection {
    /// Idle connections are most of what there is: what happens between two waits is boxed and gone before the next one.
    async fn drive<T: Transport>(&mut self, transport: &mut T) -> Departure {
        loop {
            if self.is_coming_in() {
                Box::pin(self.come_in()).await;
            }
            self.read_frame();
            if self.outbox.queued_bytes() < BATCH_BYTES && poll_fn(|context| Poll::Ready(self.poll_task(context))).await {
                // What was done at once is answered together with what comes next.
                continue;
            }
            if (self.unsettled.is_some() || self.closing.is_some() || self.outbox.has_turn())
                && let Some(departure) = Box::pin(self.speak(transport)).await
            {
                return departure;
            }
            if let Some(departure) = poll_fn(|context| self.poll_next(transport, context)).await {
                Box::pin(transport.take_leave()).await;
                return departure;
            }
        }
    }

    /// Waits until something has happened, and sees to it; says how the client has gone if it has.
    fn poll_next<T: Transport>(&mut self, transport: &mut T, context: &mut Context<'_>) -> Poll<Option<Departure>> {
        if self.poll_task(context) {
            return Poll::Ready(None);
        }
        if !self.outbox.poll_empty(context) {
            return Poll::Ready(None);
        }
        let deadline_ms = self.session.deadline();
        if deadline_ms.is_some_and(|deadline_ms| deadline_ms <= (self.gateway.clock)().mono_ms) {
            self.feed(Input::WakeUp);
            return Poll::Ready(None);
        }
        if deadline_ms != self.alarm_ms {
            self.gateway.alarms.change(self.id, self.alarm_ms, deadline_ms);
            self.alarm_ms = deadline_ms;
        }
        if self.task.is_some() || self.frames.is_some() {
            return Poll::Pending;
        }
        match ready!(transport.poll_receive(context)) {
            Received::Frame(bytes) => {
                self.gateway.metrics.bytes_in.inc_by(bytes.len() as u64);
                self.frames = Some(Box::new(frame::commands(self.wire.format(), bytes)));
                // What it is answered goes out in one piece.
                self.outbox.hold();
            }
            Received::Asked(answer) => self.outbox.push(Item::Own(answer)),
            Received::Pong => self.feed(Input::Pong),
            Received::Gone(departure) => return Poll::Ready(Some(departure)),
        }
        Poll::Ready(None)
    }

    /// Sees to the task under way; true if it was one and is done.
    fn poll_task(&mut self, context: &mut Context<'_>) -> bool {
        let Some(Poll::Ready(outcome)) = self.task.as_mut().map(|task| task.as_mut().poll(context)) else { return false };
        self.task = None;
        // What comes of it goes out once others can see it, and in one piece.
        self.outbox.hold();
        self.feed(Input::Done(outcome));
        true
    }

    /// Feeds the commands of the frame at hand until one starts a task.
    fn read_frame(&mut self) {
        while self.task.is_none() && self.closing.is_none() && !self.session.is_refused() {
            let Some(frames) = &mut self.frames else { return };
            match frames.next() {
                Some(Ok(command)) => {
                    self.gateway.metrics.commands.inc();
                    if self.is_in_time(&command) {
                        self.feed(Input::Command(command));
                    }
                }
                Some(Err(malformed)) => {
                    tracing::debug!(connection = self.id, %malformed, "malformed frame");
                    self.feed(Input::Malformed);
                }
                None => self.frames = None,
            }
        }
        if self.task.is_none() {
            self.frames = None;
        }
    }

    fn feed(&mut self, input: Input) {
        let mut orders = Vec::new();
        self.session.handle(input, (self.gateway.clock)(), &mut orders);
        orders.into_iter().for_each(|order| self.carry_out(order));
    }

    fn carry_out(&mut self, order: Order) {
        match order {
            Order::Reply(reply) => self.reply(reply),
            Order::Push(push) => replies::of_push(self.wire, push).into_iter().for_each(|item| self.outbox.push(item)),
            // What was heard meanwhile of a counter, or of the greatest, takes the place of the first state; of a roster it follows it.
            Order::State { channel, data } => {
                let state = Broadcast::first_state(channel, data);
                if state.kind == Kind::Roster { self.outbox.push(Item::Broadcast(state)) } else { self.outbox.push_latest(&state) }
            }
            Order::Ping => self.outbox.push(Item::Own(replies::ping(self.wire, self.native_ping))),
            Order::Begin(task) => {
                let (gateway, id, outbox) = (self.gateway.clone(), self.id, self.outbox.clone());
                let span = gateway.span_of_task(&task, id);
                self.task = Some(Box::pin(async move { gateway.perform(task, id, &outbox).instrument(span).await }));
            }
            Order::Connected => {
                self.take_place();
                if self.session.is_visible() {
                    self.come_online();
                }
                let channels = self.session.channels().count();
                self.give_verdict(Verdict::Accepted { channels });
            }
            Order::Open { channel, after } => self.open(&channel, after),
            Order::Leave { channel, was_shown } => {
                self.gateway.unsubscribe(&channel, self.id);
                if was_shown {
                    self.withdraw(channel);
                }
            }
            Order::Show { channels } => self.show(channels),
            Order::Hide { channels } => self.hide(channels),
            Order::Status { channel, status } => self.set_status(channel, status),
            Order::Close(code) => self.closing = Some(code),
        }
    }

    fn reply(&mut self, reply: Reply) {
        if let Some(error) = &reply.error {
            self.gateway.metrics.errors.with_label_values(&[&error.message]).inc();
            if let Some(code) = ErrorCode::from_number(error.code) {
                self.give_verdict(Verdict::Refused(code));
            }
        }
        replies::of_reply(self.wire, reply).into_iter().for_each(|item| self.outbox.push(item));
    }

    fn open(&mut self, channel: &Channel, after: StreamPosition) {
        if self.gateway.hub.open(channel, self.id, after).is_err() {
            return self.feed(Input::Unsubscribe(channel.clone(), UnsubscribeCode::InsufficientState));
        }
        if self.session.is_shown(channel) {
            self.enter(channel.clone());
        }
    }

    fn control(&mut self, control: Control) {
        match control {
            Control::Close(code) => self.closing = Some(code),
            Control::Unsubscribe(channel, code) => self.feed(Input::Unsubscribe(channel, code)),
        }
    }
}
