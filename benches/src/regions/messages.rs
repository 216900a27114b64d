//! I/O: publications in one region, as a subscriber in the other one has them.

use super::{Load, Shown, scene::Scene};
use crate::{client::Client, visible::Visible};
use anyhow::Context;
use serde_json::json;
use std::sync::Arc;
use tokio::{
    task::{JoinHandle, JoinSet},
    time::sleep_until,
};

/// Each with a publisher.
pub(super) const CHANNELS: usize = 20;

pub(super) struct Messages {
    publishers: Vec<Client>,
    visible: Arc<Visible>,
    watching: JoinHandle<anyhow::Result<()>>,
}

/// Connects everybody.
pub(super) async fn prepare(scene: &Scene, load: Load) -> anyhow::Result<Messages> {
    let visible = Arc::new(Visible::new(load.changes()));
    let mut subscriber = Client::connect(scene.there().client).await?;
    let mut publishers = Vec::new();
    for channel in 0..CHANNELS {
        subscriber.ask(json!({ "subscribe": { "channel": name(channel) } })).await?;
        publishers.push(Client::connect(scene.here().client).await?);
    }
    let seen = visible.clone();
    let watching = tokio::spawn(async move {
        loop {
            for message in subscriber.receive().await? {
                if let Some(number) = message["push"]["pub"]["data"]["n"].as_u64() {
                    seen.tell(usize::try_from(number)?);
                }
            }
        }
    });
    Ok(Messages { publishers, visible, watching })
}

impl Messages {
    pub(super) async fn run(mut self, load: Load) -> anyhow::Result<Vec<Shown>> {
        let mut publishing = JoinSet::new();
        for (channel, mut publisher) in self.publishers.into_iter().enumerate() {
            let visible = self.visible.clone();
            publishing.spawn(async move {
                for index in (channel..load.changes()).step_by(CHANNELS) {
                    sleep_until(load.due(index)).await;
                    visible.due(index, load.due(index));
                    publisher.ask(json!({ "publish": { "channel": name(channel), "data": { "n": index } } })).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(published) = publishing.join_next().await {
            published?.context("a publisher")?;
        }
        tokio::select! {
            all = self.visible.all() => all.context("messages")?,
            ended = &mut self.watching => ended?.context("the subscriber")?,
        }
        self.watching.abort();
        Ok(vec![Shown { way: "messages", latencies: self.visible.latencies() }])
    }
}

fn name(channel: usize) -> String {
    format!("chat:messages-{channel}")
}
