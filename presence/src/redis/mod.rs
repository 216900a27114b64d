//! Pure: the map of what presence says to a Redis node. Everything of a room is on the node of its slot; each script touches
//! one slot, and is refused there by fences: `STALERING` if the caller's ring is too old, `FENCED` if it was declared dead, `OVERTAKEN` if a later call of its was there first.
//!
//! | file | what |
//! |---|---|
//! | `slot.lua` | the beginning of every script: the fences, and the slot's generation |
//! | `room.lua` | the rows of a room, changed in memory and written in one go |
//! | `edges.lua`, `reap.lua`, `ready.lua`, `retire.lua` | what changes something, called by `writing` |
//! | `stats.lua`, `page.lua`, `log.lua`, `readiness.lua` | what reads, called by `reading` |
//! | `users.lua`, `contacts.lua`, `set_contacts.lua`, `erase.lua` | what is kept about users, called by `users` |
//! | `told.lua` | what services are told, logged in the step that makes the change |
//! | `hooks.lua`, `hooks_done.lua`, `pending.lua` | what is handed out of it, called by `hooks` |
//! | `hold.lua`, `question.lua`, `strays.lua`, `mark.lua`, `settle.lua`, `passed.lua` | from when on all of it is logged, called by `telling` |
//! | `forget_told.lua` | none of it is kept any more, called by `untold` |
//! | `owners` | which owners have rows in which slots, and rooms |
//! | `scripts` | how they are called, and what they answer |
//!
//! # Keys
//! Of a slot, `hc:{slot}:…`:
//!
//! | key | what |
//! |---|---|
//! | `min_epoch` | the ring's fence |
//! | `pmeta` | HASH of the valid generation: `life`, `ring`, `n`, `gen` (8 bytes), `floor`, `hooks`: whether services are told of its changes |
//! | `pfence` | HASH gateway → the least incarnation that may write |
//! | `pturn` | HASH owner → the turn of its last call |
//! | `pready` | HASH owner → the generation in which it has written all its rows |
//! | `powned:<owner>` | SET of the rooms in which it has rows |
//!
//! Of a room, `hc:{slot}:<kind>:<room>`; an empty room has none of them but for `pz`:
//!
//! | kind | what |
//! |---|---|
//! | `pc`, `pu` | SET of clients; of members, `u<user>` or `c<client>` |
//! | `pi` | HASH client → 8 bytes of arrival, then the row |
//! | `pm` | HASH member → `+`, or `-` if it is held, and its clients in order of arrival, each between two bytes 255 |
//! | `pv` | HASH `gen`, `seq`, `arrivals` |
//! | `pl` | STREAM `<seq>-0` → `d`, the change |
//! | `po`, `pw:<owner> <room>` | HASH owner → how many rows; SET of one owner's clients |
//! | `pd` | ZSET member of whom a client broke off while others were here → until when it may come back; expires with the last |
//! | `pz` | ZSET user → when it was seen last, in partitions of the users only |
//!
//! Of a user in the slot of its partition: `hc:{slot}:pb:<user>`, SET of those whose contact it is. Of a list of contacts, in
//! the slot of each partition: `hc:{slot}:pk:<whose>`, SET of those contacts that are in the partition, as members in `pu`.
//! These and `pz` are of no generation.
//!
//! What services are told, of no generation either, and handed over like those: `hc:{slot}:hl:log`, STREAM of `k` kind, `n` name,
//! `g` generation, `s` place, `t` milliseconds since 1970; `hc:{slot}:ht:rooms`, SET of the channels that were told occupied;
//! `hc:{slot}:ht:<partition>`, SET of the members that were told online. Both sets hold a name with a space besides.
//!
//! Of a node: `hc:hooks`, HASH of the mark that all rows are announced there (`life`, `ring`; `ask`: the question on the way
//! there; `due`, `said`: whether a word of losses is to be told, and was; `passed`: all is compared); `hc:hooks:answers`, HASH
//! gateway → the question that it has answered; `hc:hooks:teller`, the gateway that tells services, and
//! `hc:hooks:forgetter`, the one that deletes all of this when nobody does; `hc:owners`, SET of owners; `hc:owned:<owner>`, SET of the slots in which it may have written.
//!
//! # Places
//! A generation belongs to the slot, a place to a room in it. Rooms that become empty are forgotten, and their places with
//! them; the slot keeps the highest, and rooms begin there. So a place is never given out twice, and rooms that were used once
//! cost nothing. A reader that hears of a place that does not follow its own reads the log, or the room.

mod hooks;
mod owners;
mod reading;
mod scripts;
mod telling;
mod untold;
mod users;
mod writing;

pub use hooks::{HOOK_CHANGES, Logged, hooks, hooks_done, pending};
pub use owners::{enter_owner, forget_owner, owned_rooms, owned_slots, owners, register};
pub use reading::{Snapshot, log, ready_generation, ready_owners, snapshot, stats};
pub use scripts::{Place, WriteError, changes, scripts};
pub use telling::{answer, hold, mark, passed, question, question_asked, settle, strays};
pub use untold::{begin_forgetting, end_forgetting, forget_told, is_untold};
pub use users::{LIST_CHANGES, ListChange, contacts, contacts_online, erase, set_contacts, tell_list_change, users};
pub use writing::{REAP_ROWS_MAX, Reaped, Stored, Turn, ready, reap, retire, write};
