//! I/O: a reader who comes back to a big room after a minute in which some of its members were replaced: what it is sent,
//! beside the whole roster.

use super::{
    gateways::{Gateway, channel, client, member},
    pace::evenly,
};
use crate::clock::clock;
use anyhow::ensure;
use presence::{Departure, Entry, MemberKey, Since};
use protocol::name::Channel;
use std::{collections::BTreeMap, fmt::Write, time::Duration};
use testkit::RedisServer;

/// Members of a room, and how many of them are replaced meanwhile.
const ROOMS: [(usize, usize); 6] = [(10_000, 100), (1_000, 10), (10_000, 0), (10_000, 10), (10_000, 1_000), (4_000, 40)];
/// A quick run has the first of them.
const QUICK_ROOMS: usize = 2;
/// How long it is away.
const AWAY: Duration = Duration::from_secs(60);
const QUICK_AWAY: Duration = Duration::from_secs(3);
/// Members that join in one go before it is waited until they are written.
const AT_ONCE: usize = 5_000;
/// Members of a page.
const PAGE: usize = 1000;
/// Numbers of one room's clients, and those of their replacements.
const NUMBERS: usize = 1_000_000;

type Roster = BTreeMap<MemberKey, Entry>;

/// All pages of a roster.
struct Pages {
    version: String,
    roster: Roster,
    bytes: usize,
}

pub(super) async fn measure(quick: bool, text: &mut String) -> anyhow::Result<()> {
    let (count, away) = if quick { (QUICK_ROOMS, QUICK_AWAY) } else { (ROOMS.len(), AWAY) };
    let redis = RedisServer::start(&[]).await;
    let (writer, reader) = (Gateway::start("writer", &redis, drop).await?, Gateway::start("reader", &redis, drop).await?);
    let mut rooms = Vec::new();
    for (at, (members, replaced)) in ROOMS.into_iter().take(count).enumerate() {
        rooms.push((channel(&format!("room{at}"))?, members, replaced));
    }
    for (at, (room, members, _)) in rooms.iter().enumerate() {
        eprintln!("a room of {members} …");
        for index in 0..*members {
            writer.presence.join(room, member(at * NUMBERS + index), clock());
            if index % AT_ONCE == AT_ONCE - 1 {
                writer.settled(std::slice::from_ref(room)).await;
            }
        }
        writer.settled(std::slice::from_ref(room)).await;
    }
    let mut before = Vec::new();
    for (room, members, _) in &rooms {
        let pages = pages(&reader, room).await?;
        ensure!(pages.roster.len() == *members, "{} of {members} members of {room} are read", pages.roster.len());
        before.push(pages);
    }
    eprintln!("members are replaced for {away:?} …");
    let churn = rooms.iter().enumerate().map(|(at, (room, _, replaced))| {
        let writer = &writer;
        evenly(*replaced, away, move |index| {
            let (old, new) = (at * NUMBERS + index, at * NUMBERS + NUMBERS / 2 + index);
            writer.presence.leave(room, &client(old), Departure::Clean, clock());
            writer.presence.join(room, member(new), clock());
        })
    });
    tokio::join!(futures_util::future::join_all(churn), tokio::time::sleep(away));
    // What is told may be a second old.
    tokio::time::sleep(Duration::from_millis(2 * presence::COUNT_MS)).await;
    let stranger = Gateway::start("stranger", &redis, drop).await?;

    writeln!(text, "## Coming back to a room after {} s\n", away.as_secs())?;
    writeln!(
        text,
        "Members with infos of some 40 bytes, of whom some leave meanwhile and as many others come. Bytes are those of the JSON that \
         answers `presence.since` with the version from before, and of all pages of {PAGE} members that whoever knows nothing reads. \
         Each diff was applied to the old roster, and gave the new one. An answer that is the first page costs all of them, and \
         counts as such. The last column is of a gateway that has not followed the room, and so has not seen what changed.\n"
    )?;
    writeln!(text, "| members | replaced | the answer | all pages | share | members named | elsewhere |\n|---|---|---|---|---|---|---|")?;
    for ((room, members, replaced), before) in rooms.iter().zip(before) {
        let (since, now) = (reader.presence.since(room, &before.version).await?.value, pages(&reader, room).await?);
        let (bytes, what) = told(&since, now.bytes)?;
        let names = if let Since::Diff(diff) = &since { diff.len() } else { now.roster.len() };
        if let Since::Diff(diff) = since {
            let mut roster = before.roster;
            diff.leave.iter().for_each(|entry| _ = roster.remove(&entry.key()));
            roster.extend(diff.join.into_iter().chain(diff.update).map(|entry| (entry.key(), entry)));
            ensure!(roster == now.roster, "the answer for {room} does not lead from the old roster to the new one");
        }
        ensure!(now.roster.len() == *members, "{} of {members} members of {room} are read at the end", now.roster.len());
        let (there, there_what) = told(&stranger.presence.since(room, &before.version).await?.value, now.bytes)?;
        #[allow(clippy::cast_precision_loss)] // figures for people
        let share = bytes as f64 / now.bytes as f64 * 100.0;
        writeln!(
            text,
            "| {members} | {replaced} | {bytes} B ({what}) | {} B | {share:.2} % | {names} | {there} B ({there_what}) |",
            now.bytes
        )?;
    }
    writeln!(text)?;
    Ok(())
}

/// Bytes that are read to catch up, and what they are: if the answer is the first page, all pages.
fn told(since: &Since, pages_bytes: usize) -> anyhow::Result<(usize, &'static str)> {
    match since {
        Since::Diff(_) => Ok((serde_json::to_vec(since)?.len(), "a diff")),
        Since::Snapshot(_) => Ok((pages_bytes, "all pages")),
    }
}

async fn pages(gateway: &Gateway, room: &Channel) -> anyhow::Result<Pages> {
    let (mut roster, mut bytes, mut cursor, mut version) = (Roster::new(), 0, None, None);
    loop {
        let page = gateway.presence.page(room, cursor.as_deref(), PAGE).await?.value;
        bytes += serde_json::to_vec(&page)?.len();
        let here = page.version.to_string();
        roster.extend(page.snapshot.into_iter().map(|entry| (entry.key(), entry)));
        let version = version.get_or_insert(here);
        cursor = page.next;
        if cursor.is_none() {
            return Ok(Pages { version: std::mem::take(version), roster, bytes });
        }
    }
}
