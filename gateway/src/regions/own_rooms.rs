//! I/O: what the own store knows of a room, for the union.

use super::rooms::Rooms;
use crate::gateway::Gateway;
use presence::{
    Stamp,
    regions::{Ask, Delta, REGION_NAMES_MAX, RosterPage, Word},
};
use protocol::{limits::ROSTER_PAGE_MAX, name::Channel};
use std::sync::Arc;

/// Reads the room's pages. What cannot be read is asked for again after a while.
pub(super) async fn answer(gateway: Arc<Gateway>, rooms: Arc<Rooms>, channel: Channel, ask: Ask) {
    let own = &gateway.settings.region;
    let Ok(stats) = gateway.presence.stats(&channel).await else { return };
    let (mut cursor, mut index) = (None, 0);
    loop {
        let Ok(page) = gateway.presence.page(&channel, cursor.as_deref(), ROSTER_PAGE_MAX).await else { return };
        let stamp = page.value.version.stamp(own).unwrap_or_default();
        if stats.value.users > REGION_NAMES_MAX {
            let (users, clients) = (stats.value.users, stats.value.clients);
            let from = Stamp::default();
            let delta = Delta { follow: ask.follow, from, to: stamp, changes: Vec::new(), users, clients, counts_only: true };
            return rooms.heard(&channel, own, Word::Delta(delta));
        }
        let is_last = page.value.next.is_none();
        let word = Word::Page(RosterPage { follow: ask.follow, index, stamp, entries: page.value.snapshot, is_last });
        rooms.heard(&channel, own, word);
        index += 1;
        cursor = page.value.next;
        if is_last {
            return;
        }
    }
}
