//! I/O: one round: what a customer does at each door, each step with a deadline, and the goodbyes after it.

use super::{
    connection::{Connection, Trouble},
    door::Door,
    outcome::{Outcome, Round, Step, Taken},
};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

/// How often a counter is read until it has the like.
const READ_AGAIN: Duration = Duration::from_millis(50);
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// What is done.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Where the message and the like are left.
    pub(super) here: Door,
    /// Where they are looked for.
    pub(super) others: Vec<Door>,
    /// Whether the message is heard there.
    pub(super) others_hear: bool,
    pub(super) channel: String,
    pub(super) counter: String,
    /// For each step.
    pub(super) deadline: Duration,
}

/// A door, and what came of it.
pub(super) struct Visit<'a> {
    door: &'a Door,
    steps: &'static [Step],
    connection: Option<Connection>,
    is_subscribed: bool,
    taken: Vec<(Step, Outcome)>,
}

impl Plan {
    /// One for each door, the first one's first; nothing is connected yet.
    pub(super) fn visits(&self) -> Vec<Visit<'_>> {
        let visit = |door, steps| Visit { door, steps, connection: None, is_subscribed: false, taken: Vec::new() };
        let others = self.others.iter().map(|door| visit(door, Step::elsewhere(self.others_hear)));
        std::iter::once(visit(&self.here, &Step::HERE)).chain(others).collect()
    }
}

/// Goes through the steps at all doors. If it is not waited for to the end, [`goodbye`] is due all the same.
pub(super) async fn run(plan: &Plan, token: Option<&str>, visits: &mut [Visit<'_>]) {
    join_all(visits.iter_mut().map(|visit| visit.enter(plan, token))).await;
    let Some((here, others)) = visits.split_first_mut() else { return };
    let data = json!({ "probe": Uuid::new_v4().to_string() });
    if here.is_subscribed {
        let published = Instant::now();
        let hear = join_all(others.iter_mut().map(|other| other.hear(plan, &data, published)));
        let (is_published, ()) = tokio::join!(here.publish(plan, &data, published), async { _ = hear.await });
        if !is_published {
            // What was not published cannot be missed.
            others.iter_mut().for_each(|other| other.taken.retain(|(step, _)| *step != Step::Message));
        }
    }
    if let Some(value) = here.like(plan).await {
        let liked = Instant::now();
        tokio::join!(here.read(plan, value, liked), join_all(others.iter_mut().map(|other| other.read(plan, value, liked))));
    }
}

/// Leaves every door, so that no roster holds a place for this client.
pub(super) async fn goodbye(plan: &Plan, visits: &mut [Visit<'_>]) {
    let goodbyes = visits.iter_mut().filter_map(|visit| {
        let channel = visit.is_subscribed.then_some(plan.channel.as_str());
        Some(timeout(GOODBYE, visit.connection.take()?.leave(channel)))
    });
    join_all(goodbyes).await;
}

/// What came of it all.
pub(super) fn outcome(at_ms: u64, visits: Vec<Visit<'_>>) -> Round {
    let steps = visits.into_iter().flat_map(|visit| {
        let target = visit.door.to_string();
        let mut taken = visit.taken;
        visit.steps.iter().map(move |step| {
            let at = taken.iter().position(|(other, _)| other == step);
            let outcome = at.map_or(Outcome::NotReached, |at| taken.remove(at).1);
            Taken { step: *step, target: target.clone(), outcome }
        })
    });
    Round { at_ms, steps: steps.collect() }
}

impl Visit<'_> {
    /// Connects, and as far as it is for this door, subscribes and is seen.
    async fn enter(&mut self, plan: &Plan, token: Option<&str>) {
        let since = Instant::now();
        match timeout(plan.deadline, Connection::open(self.door, token)).await {
            Ok(Ok(connection)) => self.connection = Some(connection),
            Ok(Err(trouble)) => return self.note(Step::Connect, Outcome::Failed(trouble.reason())),
            Err(_) => return self.note(Step::Connect, late(plan)),
        }
        self.note(Step::Connect, Outcome::Took(since.elapsed()));
        if !self.steps.contains(&Step::Subscribe) {
            return;
        }
        let subscribe = json!({ "channel": plan.channel });
        let subscribed = self.step(plan, Step::Subscribe, Instant::now(), async |connection| connection.ask("subscribe", subscribe).await);
        self.is_subscribed = subscribed.await.is_some();
        if self.is_subscribed && self.steps.contains(&Step::Presence) {
            self.step(plan, Step::Presence, Instant::now(), async |connection| seen(connection, &plan.channel).await).await;
        }
    }

    /// False: it is not known to be published.
    async fn publish(&mut self, plan: &Plan, data: &Value, since: Instant) -> bool {
        let mut is_published = false;
        let heard = self.step(plan, Step::Message, since, async |connection| {
            connection.ask("publish", json!({ "channel": plan.channel, "data": data })).await?;
            is_published = true;
            connection.hear(&plan.channel, data).await
        });
        heard.await;
        is_published
    }

    async fn hear(&mut self, plan: &Plan, data: &Value, since: Instant) {
        if self.is_subscribed {
            self.step(plan, Step::Message, since, async |connection| connection.hear(&plan.channel, data).await).await;
        }
    }

    /// The counter's value with the like, as this door knows it.
    async fn like(&mut self, plan: &Plan) -> Option<i128> {
        let arguments = json!({ "key": plan.counter, "by": 1, "token": Uuid::now_v7().to_string() });
        self.step(plan, Step::Like, Instant::now(), async |connection| {
            let added = connection.call("counter.add", arguments).await?;
            value(&added).ok_or_else(|| Trouble::Refused(format!("the answer has no value: {added}")))
        })
        .await
    }

    async fn read(&mut self, plan: &Plan, liked: i128, since: Instant) {
        let mut last = None;
        let read = self.step(plan, Step::Read, since, async |connection| {
            loop {
                let answer = connection.call("counter.get", json!({ "keys": [plan.counter] })).await?;
                last = value(&answer["counters"][0]);
                if last.is_some_and(|value| value >= liked) {
                    return Ok(());
                }
                sleep(READ_AGAIN).await;
            }
        });
        read.await;
        if let (Some(last), Some((Step::Read, Outcome::Failed(reason)))) = (last, self.taken.last_mut()) {
            *reason += &format!("; {} is {last} there, and {liked} where the like was", plan.counter);
        }
    }

    /// Takes a step, if there is still a connection to take it on.
    async fn step<T>(
        &mut self,
        plan: &Plan,
        step: Step,
        since: Instant,
        take: impl AsyncFnOnce(&mut Connection) -> Result<T, Trouble>,
    ) -> Option<T> {
        let connection = self.connection.as_mut()?;
        let outcome = match timeout(plan.deadline, take(connection)).await {
            Ok(Ok(result)) => {
                self.note(step, Outcome::Took(since.elapsed()));
                return Some(result);
            }
            Ok(Err(trouble)) => {
                if matches!(trouble, Trouble::Lost(_)) {
                    self.connection = None;
                }
                Outcome::Failed(trouble.reason())
            }
            Err(_) => late(plan),
        };
        self.note(step, outcome);
        None
    }

    fn note(&mut self, step: Step, outcome: Outcome) {
        self.taken.push((step, outcome));
    }
}

fn late(plan: &Plan) -> Outcome {
    Outcome::Failed(format!("not within {:?}", plan.deadline))
}

/// Whether the roster shows this client.
async fn seen(connection: &mut Connection, channel: &str) -> Result<(), Trouble> {
    let roster = connection.ask("presence", json!({ "channel": channel })).await?;
    let client = connection.client.as_str();
    match roster["presence"].get(client) {
        Some(_) => Ok(()),
        None => Err(Trouble::Refused(format!(
            "the roster has {} clients, and not this one",
            roster["presence"].as_object().map_or(0, serde_json::Map::len)
        ))),
    }
}

fn value(counter: &Value) -> Option<i128> {
    counter["value_s"].as_str()?.parse().ok()
}
