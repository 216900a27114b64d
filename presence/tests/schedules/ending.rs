//! What must be true when all was healed, and some time has passed.

use crate::{
    gateway::Gateway,
    room::Room,
    servers::SITES,
    truth::Holding,
    world::{ROOMS, World},
};
use bytes::Bytes;
use presence::{Member, MemberKey, redis::owners};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Two presences with a shorter pause in between may be told as one.
const MERGED_MS: u64 = 3_000;

impl World<'_> {
    pub async fn check_end(&mut self, is_calm: bool) {
        for room in 0..ROOMS.len() {
            self.check_room(room).await;
            self.check_hooks(room).await;
            if is_calm {
                self.check_counts(room);
            }
        }
        let ids: BTreeSet<String> =
            self.gateways.iter().filter(|gateway| gateway.runs()).map(|gateway| gateway.owner.id().to_string()).collect();
        for (site, name) in SITES.into_iter().enumerate() {
            let link = self.servers.link(site, self.sites[site].process, self.ring.incarnation[site]).await;
            let registered = owners(&link).await.unwrap();
            if let Some(dead) = registered.iter().find(|owner| !ids.contains(&owner.to_string())) {
                self.blame(&format!("{dead} is still an owner at {name}"));
            }
        }
        for index in 0..self.gateways.len() {
            let Gateway { name, owner, .. } = &self.gateways[index];
            let told = self.etcd.records.get(name).map(|record| record.incarnation);
            if self.gateways[index].runs() && told != Some(owner.id().incarnation) {
                self.blame(&format!("the record of g{index} says {told:?}, and it writes as {}", owner.id()));
            }
        }
    }

    /// Redis, the replicas and the truth are the same.
    async fn check_room(&mut self, room: usize) {
        let site = self.ring.place[room];
        let link = self.servers.link(site, self.sites[site].process, self.ring.incarnation[site]).await;
        let id = ROOMS[room].clone();
        let redis = Room { link, id, ring_epoch: self.ring.epoch };
        // What is left of a former generation lies there until the room is written again.
        let rows = if redis.rows().await.is_empty() { Vec::new() } else { redis.check().await };
        // Which client of a member is the first one, and so which status is shown, is for the node to say.
        let mut statuses = BTreeMap::<MemberKey, Bytes>::new();
        for member in rows.iter().map(|row| &row.member).filter(|member| !member.about().status.is_empty()) {
            statuses.entry(member.key()).or_insert_with(|| member.about().status.clone());
        }
        let rows: BTreeMap<Arc<str>, (Arc<Member>, String)> =
            rows.iter().map(|row| (row.member.client.clone(), (row.member.clone(), row.owner.to_string()))).collect();
        let (mut truth, mut members) = (BTreeMap::new(), BTreeMap::<MemberKey, (u32, Bytes)>::new());
        for (holder, client) in self.held(room) {
            assert_eq!(client.holding, Holding::Live, "all graces are over");
            truth.insert(client.member.client.clone(), (client.member.clone(), self.gateways[holder].owner.id().to_string()));
            let key = client.member.key();
            let status = statuses.get(&key).cloned().unwrap_or_default();
            members.entry(key).or_insert((0, status)).0 += 1;
        }
        if rows != truth {
            self.blame(&format!("{room} has {rows:?} in Redis; in truth {truth:?}"));
        }
        for index in 0..self.gateways.len() {
            let followed = &self.gateways[index].rooms[room];
            if !self.gateways[index].runs() {
                continue;
            }
            let shown: BTreeMap<MemberKey, (u32, Bytes)> =
                followed.entries().into_iter().map(|(key, entry)| (key, (entry.num_clients(), entry.status().clone()))).collect();
            let (is_current, retained) = (followed.replica.is_current(), followed.replica.retained());
            if shown != members || !is_current || retained > 0 {
                self.blame(&format!(
                    "g{index} shows {shown:?} in {room} (current: {is_current}, retained: {retained}); in truth {members:?}"
                ));
            }
        }
    }

    /// One join and one leave for each presence, whatever its clients did.
    fn check_counts(&mut self, room: usize) {
        let mut wrongs = Vec::new();
        for ((_, member), intervals) in self.truth.possible.iter().filter(|((of, _), _)| *of == room) {
            let merged = 1 + intervals.windows(2).filter(|pair| pair[0].1.is_some_and(|end_ms| pair[1].0 > end_ms + MERGED_MS)).count();
            let gone = usize::from(intervals.last().is_some_and(|(_, to)| to.is_some()));
            for (index, gateway) in self.gateways.iter().enumerate() {
                let (joins, leaves) = gateway.rooms[room].counts.get(member).copied().unwrap_or_default();
                let (joins, leaves) = (joins as usize, leaves as usize);
                // Who came and went within a moment need not have been seen at all.
                let brief = intervals.iter().filter(|(from, to)| to.is_some_and(|to| to < from + MERGED_MS)).count();
                let most = self.truth.sure.get(&(room, member.clone())).map_or(0, Vec::len)
                    + self.truth.close_calls.get(&(room, member.clone())).copied().unwrap_or_default();
                if !(merged.saturating_sub(brief)..=most).contains(&joins) || leaves + 1 != joins + gone {
                    wrongs.push(format!(
                        "g{index} told {joins} joins and {leaves} leaves of {member:?} in {room}, who was there {intervals:?}"
                    ));
                }
            }
        }
        wrongs.iter().for_each(|wrong| self.blame(wrong));
    }
}
