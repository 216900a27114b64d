//! I/O: those who are in channels, and those who publish.

use core::net::SocketAddr;
use serde_json::json;
use std::time::Duration;
use testkit::{
    Guest,
    crowd::{Wish, enter_all},
    http,
};
use tokio::{task::JoinHandle, time::sleep};

/// Channels at a ring, enough that every Redis node has some.
pub(crate) fn channels() -> Vec<String> {
    (0..16).map(|at| format!("hall{at}")).collect()
}

/// So many guests, each in all channels.
pub(crate) async fn guests(count: usize, gateway: SocketAddr, name: &str) -> Vec<Guest> {
    enter_all((0..count).map(|at| Wish { user: format!("{name}{at}"), channels: channels(), gateway })).await
}

/// Publishes one message; the status of the answer, or 0 without one.
pub(crate) async fn publish(gateway: SocketAddr, channel: &str) -> u16 {
    http::post(gateway, &format!("/v1/channels/{channel}/messages"), &json!({ "data": "news" })).await.map_or(0, |answer| answer.status)
}

/// Something that is done again and again until this is dropped.
pub(crate) struct Habit(Vec<JoinHandle<()>>);

impl Habit {
    pub(crate) fn of(task: JoinHandle<()>) -> Habit {
        Habit(vec![task])
    }
}

impl Drop for Habit {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// Publishes in every channel, with this pause between two messages of a channel.
pub(crate) fn publishing(gateway: SocketAddr, pause: Duration) -> Habit {
    let habit = |channel: String| {
        tokio::spawn(async move {
            loop {
                publish(gateway, &channel).await;
                sleep(pause).await;
            }
        })
    };
    Habit(channels().into_iter().map(habit).collect())
}
