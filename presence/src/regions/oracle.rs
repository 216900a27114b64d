//! Pure: who is here, by nothing but who is where.

use super::{
    reader::Seen,
    world::{OWN, REGIONS},
};
use crate::MemberKey;
use std::collections::BTreeMap;

/// One client, from when it came. They are in the order in which they did.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) region: usize,
    pub(super) client: String,
    pub(super) user: String,
    pub(super) status: String,
}

/// The members of all regions.
pub(super) fn truth(sessions: &[Session]) -> BTreeMap<MemberKey, Seen> {
    let mut truth: BTreeMap<MemberKey, Vec<&Session>> = BTreeMap::new();
    for session in sessions {
        let key = MemberKey::of(&session.user.as_str().into(), &session.client.as_str().into());
        truth.entry(key).or_default().push(session);
    }
    let seen = |sessions: Vec<&Session>| {
        let mut sorted: Vec<&str> = REGIONS.to_vec();
        sorted.sort_unstable();
        let regions = sorted.iter().filter(|name| sessions.iter().any(|session| REGIONS[session.region] == **name));
        let regions: Vec<String> = regions.map(|name| (*name).to_owned()).collect();
        let ranks = |session: &&&Session| (session.region != OWN, REGIONS[session.region]);
        let first = sessions.iter().min_by_key(ranks).unwrap();
        let spokesman = sessions.iter().filter(|session| !session.status.is_empty()).min_by_key(ranks);
        let status = spokesman.map_or(String::new(), |session| session.status.clone());
        (first.client.clone(), u32::try_from(sessions.len()).unwrap(), status, regions)
    };
    truth.into_iter().map(|(key, sessions)| (key, seen(sessions))).collect()
}
