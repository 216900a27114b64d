//! I/O: what others see of a connection's client: the rosters it is in, its statuses, and that its user is online.

use super::Connection;
use bytes::Bytes;
use futures_util::future::join_all;
use presence::{Departure, Member};
use protocol::name::Channel;

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
                self.gateway.presence.settled_online(self.session.user().unwrap_or_default(), self.session.client()).await;
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
        let info = self.session.info(&channel);
        let (client, user) = (info.client.into(), info.user.into());
        let member = Member { client, user, conn_info: info.conn_info, chan_info: info.chan_info, status: Bytes::new() };
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
        let user = self.session.user().unwrap_or_default();
        self.gateway.presence.connect(&user.into(), &self.session.client().into(), (self.gateway.clock)());
    }

    pub(super) fn go_offline(&self, departure: Departure) {
        let user = self.session.user().unwrap_or_default();
        self.gateway.presence.disconnect(&user.into(), &self.session.client().into(), departure, (self.gateway.clock)());
    }
}
