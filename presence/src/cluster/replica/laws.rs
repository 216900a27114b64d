//! Pure: the laws of a replica, on random schedules.

use super::world::World;
use crate::{Entry, Member, MemberKey, Since, Stats, world::apply};
use proptest::prelude::*;
use std::{collections::BTreeMap, sync::Arc};

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// A client of a user comes to an owner; user 0 is nobody in particular.
    Enter {
        owner: u8,
        user: u8,
    },
    /// Any client goes.
    Depart(prop::sample::Index),
    /// Any client has another status, or none any more.
    SetStatus(prop::sample::Index, bool),
    /// The roamer drops where it is and comes back at an owner, in one change.
    Roam {
        owner: u8,
    },
    /// The next message of a gateway, of one of its ways, comes or is lost.
    Deliver {
        gateway: u8,
        way: u8,
        is_lost: bool,
    },
    /// A gateway's read goes on: the next page, or the answer.
    Serve {
        gateway: u8,
    },
    /// A gateway's read fails.
    Fail {
        gateway: u8,
    },
    Deaf {
        gateway: u8,
    },
    Listen {
        gateway: u8,
    },
    /// The node loses everything; a moved room begins its numbers anew.
    Wipe {
        is_moved: bool,
    },
    /// An owner writes all its rows again, and is ready.
    Announce {
        owner: u8,
    },
    /// An owner dies, is found dead, and is reaped. Never the first.
    Die {
        owner: u8,
    },
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (owner, gateway, any) = (0..3_u8, 0..2_u8, any::<prop::sample::Index>());
    let step = prop_oneof![
        6 => (owner.clone(), 0..4_u8).prop_map(|(owner, user)| Step::Enter { owner, user }),
        4 => any.clone().prop_map(Step::Depart),
        3 => (any, prop::bool::weighted(0.7)).prop_map(|(client, has_one)| Step::SetStatus(client, has_one)),
        4 => owner.clone().prop_map(|owner| Step::Roam { owner }),
        16 => (gateway.clone(), 0..3_u8, prop::bool::weighted(0.05)).prop_map(|(gateway, way, is_lost)| Step::Deliver { gateway, way, is_lost }),
        10 => gateway.clone().prop_map(|gateway| Step::Serve { gateway }),
        1 => gateway.clone().prop_map(|gateway| Step::Fail { gateway }),
        1 => gateway.clone().prop_map(|gateway| Step::Deaf { gateway }),
        2 => gateway.prop_map(|gateway| Step::Listen { gateway }),
        1 => any_wipe(),
        5 => owner.clone().prop_map(|owner| Step::Announce { owner }),
        1 => owner.prop_map(|owner| Step::Die { owner }),
        3 => (1..400_u64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..150)
}

/// Schedules in which both gateways hear nearly everything, and tell it at different times.
fn calm_steps() -> impl Strategy<Value = Vec<Step>> {
    let (owner, gateway, any) = (0..3_u8, 0..2_u8, any::<prop::sample::Index>());
    let step = prop_oneof![
        4 => (owner.clone(), 0..4_u8).prop_map(|(owner, user)| Step::Enter { owner, user }),
        4 => any.clone().prop_map(Step::Depart),
        3 => (any, prop::bool::weighted(0.7)).prop_map(|(client, has_one)| Step::SetStatus(client, has_one)),
        1 => owner.prop_map(|owner| Step::Roam { owner }),
        24 => gateway.clone().prop_map(|gateway| Step::Deliver { gateway, way: 0, is_lost: false }),
        2 => gateway.clone().prop_map(|gateway| Step::Serve { gateway }),
        1 => gateway.prop_map(|gateway| Step::Listen { gateway }),
        4 => (1..120_u64).prop_map(Step::Wait),
    ];
    let begin = (0..2).flat_map(|gateway| [[Step::Listen { gateway }].as_slice(), &[Step::Serve { gateway }; 5]].concat());
    let begin: Vec<Step> = begin.collect();
    prop::collection::vec(step, 1..200).prop_map(move |steps| [&begin[..], &steps].concat())
}

fn any_wipe() -> impl Strategy<Value = Step> {
    any::<bool>().prop_map(|is_moved| Step::Wipe { is_moved })
}

proptest! {
    #[test]
    fn a_replica_is_the_room_in_the_end_and_tells_of_each_presence_once(steps in steps(), is_heard_of in any::<bool>()) {
        let mut world = World::new();
        steps.into_iter().for_each(|step| world.step(step));
        world.rest(is_heard_of);
        let truth = world.truth();
        let entry = |clients: &Vec<Arc<Member>>| {
            let spokesman = clients.iter().find(|client| !client.about().status.is_empty());
            Entry::new(clients[0].clone(), u32::try_from(clients.len()).unwrap(), spokesman.cloned())
        };
        let entries: BTreeMap<MemberKey, Entry> = truth.iter().map(|(key, clients)| (key.clone(), entry(clients))).collect();
        for gateway in &world.gateways {
            let replica = &gateway.replica;
            prop_assert!(replica.is_current());
            prop_assert_eq!(replica.retained(), 0);
            prop_assert_eq!(&gateway.pages(), &entries);
            prop_assert_eq!(replica.stats(), Stats { clients: truth.values().map(Vec::len).sum(), users: truth.len() });
            let here: Vec<&MemberKey> = gateway.events.iter().filter(|(_, is_here)| **is_here).map(|(key, _)| key).collect();
            prop_assert_eq!(here, truth.keys().collect::<Vec<_>>());
            prop_assert_eq!(gateway.version().stamp("local"), Some(replica.stamp()));
            prop_assert!(!gateway.is_stale);
        }
    }

    #[test]
    fn who_comes_from_another_gateway_with_a_version_has_the_roster_after_what_was_told_since(steps in prop_oneof![steps(), calm_steps()]) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
            let [one, other] = &world.gateways;
            for (from, to) in [(one, other), (other, one), (one, one)] {
                for (version, entries) in from.told.iter().rev().take(12) {
                    if let Since::Diff(diff) = to.replica.since(&version.to_string()) {
                        let mut entries = entries.clone();
                        apply(&mut entries, &diff);
                        prop_assert_eq!(&entries, &to.pages(), "from {}", version);
                    }
                }
            }
        }
    }
}
