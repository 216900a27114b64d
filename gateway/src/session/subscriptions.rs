//! Pure: the channels that one client is subscribed to.

use super::lifetime::Deadline;
use bytes::Bytes;
use protocol::name::Channel;

/// Subscriptions, ordered by channel. Most clients have one or a few: a list is a tenth of a table then. The rules bound their number.
#[derive(Debug, Default)]
pub(super) struct Subscriptions(Vec<(Channel, Subscription)>);

/// One of them.
#[derive(Debug)]
pub(super) struct Subscription {
    /// It came from a token.
    pub(super) by_token: bool,
    /// It began with the connection: only a new connection begins it again.
    pub(super) with_connection: bool,
    /// The channel's roster shows it while the client is visible.
    pub(super) is_member: bool,
    /// `None`: none are set, as where no token was brought.
    pub(super) terms: Option<Box<Terms>>,
}

/// What a token may set of a subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Terms {
    /// What the channel's roster shows of the client besides its name.
    pub(super) chan_info: Bytes,
    /// The subscription ends the connection then, unless it was refreshed.
    pub(super) expires: Deadline,
}

impl Subscriptions {
    pub(super) fn get(&self, channel: &Channel) -> Option<&Subscription> {
        self.place(channel).ok().map(|place| &self.0[place].1)
    }

    pub(super) fn get_mut(&mut self, channel: &Channel) -> Option<&mut Subscription> {
        self.place(channel).ok().map(|place| &mut self.0[place].1)
    }

    pub(super) fn contains(&self, channel: &Channel) -> bool {
        self.place(channel).is_ok()
    }

    /// Adds one, in place of one to the same channel.
    pub(super) fn insert(&mut self, channel: Channel, subscription: Subscription) {
        match self.place(&channel) {
            Ok(place) => self.0[place].1 = subscription,
            Err(place) => {
                // A list that grows takes room for four at first.
                if self.0.is_empty() {
                    self.0.reserve_exact(1);
                }
                self.0.insert(place, (channel, subscription));
            }
        }
    }

    pub(super) fn remove(&mut self, channel: &Channel) {
        if let Ok(place) = self.place(channel) {
            self.0.remove(place);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Channel, &Subscription)> {
        self.0.iter().map(|(channel, subscription)| (channel, subscription))
    }

    /// When the first of them expires.
    pub(super) fn expires(&self) -> Deadline {
        self.0.iter().map(|(_, subscription)| subscription.expires()).min().unwrap_or_default()
    }

    fn place(&self, channel: &Channel) -> Result<usize, usize> {
        self.0.binary_search_by(|(held, _)| held.cmp(channel))
    }
}

impl Subscription {
    pub(super) fn chan_info(&self) -> Bytes {
        self.terms.as_ref().map(|terms| terms.chan_info.clone()).unwrap_or_default()
    }

    pub(super) fn expires(&self) -> Deadline {
        self.terms.as_ref().map(|terms| terms.expires).unwrap_or_default()
    }

    pub(super) fn set_expiry(&mut self, expires: Deadline) {
        self.terms.get_or_insert_default().expires = expires;
    }
}

impl Terms {
    /// `None` if nothing is set.
    pub(super) fn new(chan_info: Bytes, expires: Deadline) -> Option<Box<Terms>> {
        let terms = Terms { chan_info, expires };
        (terms != Terms::default()).then(|| Box::new(terms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn subscription(number: u64) -> Subscription {
        let terms = Terms::new(Bytes::new(), Deadline::at(number));
        Subscription { by_token: false, with_connection: false, is_member: true, terms }
    }

    proptest! {
        #[test]
        fn they_are_as_in_a_table_in_the_order_of_the_channels(steps in prop::collection::vec((0..8_u8, prop::option::of(0..100_u64)), 0..40)) {
            let (mut list, mut table) = (Subscriptions::default(), BTreeMap::new());
            for (channel, step) in steps {
                let channel = Channel::parse(&format!("c{channel}")).unwrap();
                match step {
                    Some(number) => {
                        list.insert(channel.clone(), subscription(number));
                        table.insert(channel.clone(), Deadline::at(number));
                    }
                    None => {
                        list.remove(&channel);
                        table.remove(&channel);
                    }
                }
                prop_assert_eq!(list.contains(&channel), table.contains_key(&channel));
                prop_assert_eq!(list.get(&channel).map(Subscription::expires), table.get(&channel).copied());
            }
            prop_assert_eq!(list.iter().map(|(channel, held)| (channel, held.expires())).collect::<Vec<_>>(), table.iter().map(|(channel, at)| (channel, *at)).collect::<Vec<_>>());
            prop_assert_eq!(list.len(), table.len());
            prop_assert_eq!(list.expires(), table.into_values().min().unwrap_or_default());
        }
    }

    #[test]
    fn the_only_one_takes_the_room_of_one() {
        let mut list = Subscriptions::default();
        list.insert(Channel::parse("a").unwrap(), subscription(1));
        assert_eq!(list.0.capacity(), 1);
    }
}
