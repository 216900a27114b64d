//! I/O: what others see of a connection's client: the rosters it is in, its statuses, and that its user is online.

use super::Connection;
use bytes::Bytes;
use futures_util::future::join_all;
use presence::{About, Departure, Member};
use protocol::{message::ClientInfo, name::Channel};

/// What was written of the client and may not be seen yet by those who ask elsewhere.
#[derive(Default)]
pub(super) struct Unsettled {
    /// Rosters. Those of one turn of the connection's loop: of one frame until its first task, and of what was asked of the connection.
    channels: Vec<Channel>,
    /// Whether it is online.
    is_online: bool,
}

impl Connection {
    /// Waits until everybody can see what was written.
    pub(super) async fn settle(&mut self) {
        let Some(unsettled) = self.unsettled.take() else { return };
        let Unsettled { channels, is_online } = *unsettled;
        let rosters = join_all(channels.iter().map(|channel| self.gateway.presence.settled(channel)));
        let online = async {
            if is_online {
                let user = self.session.user().map_or("", |user| user);
                self.gateway.presence.settled_online(user, self.session.client()).await;
            }
        };
        tokio::join!(rosters, online);
    }

    pub(super) fn show(&mut self, channels: Vec<Channel>) {
        self.come_online();
        channels.into_iter().for_each(|channel| self.enter(channel));
        self.unsettled.get_or_insert_default().is_online = true;
    }

    pub(super) fn hide(&mut self, channels: Vec<Channel>) {
        channels.into_iter().for_each(|channel| self.withdraw(channel));
        self.go_offline(Departure::Clean);
        self.unsettled.get_or_insert_default().is_online = true;
    }

    pub(super) fn enter(&mut self, channel: Channel) {
        let Some(user) = self.session.user() else { return };
        let ClientInfo { conn_info, chan_info, .. } = self.session.info(&channel);
        let about = About { conn_info, chan_info, status: Bytes::new() };
        let member = Member::new(self.session.client().clone(), user.clone(), about);
        self.gateway.presence.join(&channel, member, (self.gateway.clock)());
        self.unsettled.get_or_insert_default().channels.push(channel);
    }

    /// Leaves a roster on purpose.
    pub(super) fn withdraw(&mut self, channel: Channel) {
        self.leave(&channel, Departure::Clean);
        self.unsettled.get_or_insert_default().channels.push(channel);
    }

    pub(super) fn leave(&self, channel: &Channel, departure: Departure) {
        self.gateway.presence.leave(channel, self.session.client(), departure, (self.gateway.clock)());
    }

    pub(super) fn set_status(&mut self, channel: Channel, status: Bytes) {
        self.gateway.presence.set_status(&channel, self.session.client(), status, (self.gateway.clock)());
        self.unsettled.get_or_insert_default().channels.push(channel);
    }

    /// The connect reply does not wait for it.
    pub(super) fn come_online(&self) {
        if let Some(user) = self.session.user() {
            self.gateway.presence.connect(user, self.session.client(), (self.gateway.clock)());
        }
    }

    pub(super) fn go_offline(&self, departure: Departure) {
        if let Some(user) = self.session.user() {
            self.gateway.presence.disconnect(user, self.session.client(), departure, (self.gateway.clock)());
        }
    }
}
