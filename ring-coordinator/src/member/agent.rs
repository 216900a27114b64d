//! Pure: a gateway's place in etcd: that it is there, by which ring it goes, how far it is with a change, and as whom it
//! writes presence; and that it comes back as a new one when it was taken for gone.
//!
//! The key comes first, then the ring is read, then everything is compared with history: so a change that does not know of
//! this gateway is one that this gateway knows of.

use crate::view::View;
use std::sync::Arc;

/// A fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A ring, wherever it comes from. One that is not newer than what is known counts for nothing.
    View(Arc<View>),
    /// The bus has done its part of all documents up to this epoch: see [`View::due_at`].
    Finished(u64),
    /// The incarnation under which presence is written; 0 while none is. The last one told counts.
    Presence(u64),
    /// The key stands in etcd, and every ring that stood there before it was told.
    Registered,
    /// The key is gone: the lease was lost, or the coordinator did not wait any longer.
    Unregistered,
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Go by this ring.
    Apply(Arc<View>),
    /// Have the key in etcd, with these in it.
    Tell {
        /// The ring that is gone by; 0 for none.
        epoch: u64,
        /// The ring of which everything is done.
        acked: u64,
        /// The incarnation under which presence is written.
        presence: u64,
    },
    /// Others went on without this gateway: compare each channel with its history, and tell subscribers what they missed.
    Check,
}

/// One gateway's place.
#[derive(Clone, Debug, Default)]
pub struct Agent {
    view: Option<Arc<View>>,
    finished: u64,
    presence: u64,
    registered: bool,
    was_gone: bool,
    told: Option<(u64, u64, u64)>,
}

impl Agent {
    /// Takes a fact in.
    pub fn handle(&mut self, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::View(view) => {
                if self.view.as_ref().is_none_or(|known| known.epoch() < view.epoch()) {
                    out.push(Output::Apply(view.clone()));
                    self.view = Some(view);
                }
            }
            Input::Finished(epoch) => self.finished = self.finished.max(epoch),
            Input::Presence(incarnation) => self.presence = incarnation,
            Input::Registered => {
                if !std::mem::replace(&mut self.registered, true) && std::mem::take(&mut self.was_gone) {
                    out.push(Output::Check);
                }
            }
            Input::Unregistered => {
                if std::mem::take(&mut self.registered) {
                    self.was_gone = true;
                    self.told = None;
                }
            }
        }
        let epoch = self.view.as_ref().map_or(0, |view| view.epoch());
        let tell = (epoch, self.finished.min(epoch), self.presence);
        if self.told.replace(tell) != Some(tell) {
            out.push(Output::Tell { epoch: tell.0, acked: tell.1, presence: tell.2 });
        }
    }

    /// The ring as it is gone by.
    #[must_use]
    pub fn view(&self) -> Option<&Arc<View>> {
        self.view.as_ref()
    }

    /// Whether the key stands in etcd. Before that, a change of the ring may overlook this gateway.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.registered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;

    fn view(epoch: u64) -> Arc<View> {
        Arc::new(View::new(Document { epoch, vnodes: 1, ..Document::default() }))
    }

    fn told(agent: &mut Agent, inputs: impl IntoIterator<Item = Input>) -> Vec<Output> {
        let mut out = Vec::new();
        inputs.into_iter().for_each(|input| agent.handle(input, &mut out));
        out
    }

    #[test]
    fn the_key_says_which_ring_is_gone_by_and_which_is_done() {
        let mut agent = Agent::default();
        let out = told(&mut agent, [Input::Finished(0), Input::View(view(3)), Input::Registered]);
        let tell = |epoch, acked| Output::Tell { epoch, acked, presence: 0 };
        assert_eq!(out, [tell(0, 0), Output::Apply(view(3)), tell(3, 0)]);
        assert_eq!(told(&mut agent, [Input::Finished(3), Input::Finished(2)]), [tell(3, 3)]);
        assert_eq!(told(&mut agent, [Input::View(view(4))]), [Output::Apply(view(4)), tell(4, 3)]);
        assert_eq!(told(&mut agent, [Input::View(view(3)), Input::View(view(4))]), [], "an older ring counts for nothing");
        assert_eq!(told(&mut agent, [Input::Finished(9)]), [tell(4, 4)], "nothing is done of a ring that is not gone by");
    }

    #[test]
    fn the_key_says_under_which_incarnation_presence_is_written() {
        let mut agent = Agent::default();
        let tell = |presence| Output::Tell { epoch: 0, acked: 0, presence };
        let inputs = [Input::Presence(7), Input::Presence(7), Input::Presence(9), Input::Registered, Input::Unregistered];
        assert_eq!(told(&mut agent, inputs), [tell(7), tell(9), tell(9)], "what is gone from etcd is put there anew");
        assert_eq!(told(&mut agent, [Input::Presence(0)]), [tell(0)]);
    }

    #[test]
    fn who_was_taken_for_gone_registers_again_and_then_checks_everything() {
        let mut agent = Agent::default();
        told(&mut agent, [Input::View(view(3)), Input::Finished(3), Input::Registered]);
        let out = told(&mut agent, [Input::Unregistered, Input::Unregistered]);
        assert_eq!((out, agent.is_registered()), (vec![Output::Tell { epoch: 3, acked: 3, presence: 0 }], false));
        let out = told(&mut agent, [Input::View(view(5)), Input::Registered, Input::Registered]);
        assert_eq!(out, [Output::Apply(view(5)), Output::Tell { epoch: 5, acked: 3, presence: 0 }, Output::Check]);
    }
}
