//! Pure: how a change is asked for: the coordinator alone writes the document, so whoever wants something of it leaves
//! this in etcd at `/headcount/<region>/wanted`, created only while nobody else's stands there; who wants a change dropped puts
//! that in the place of the wish for it. The coordinator carries it out or refuses it, deletes it, and answers in the same
//! transaction at `/headcount/<region>/wanted/result`.

use crate::document::Layout;
use serde::{Deserialize, Serialize};

/// What somebody wants, in etcd.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// What.
    pub wish: Wish,
    /// Who asks: `USER@HOST` by default.
    pub by: String,
    /// When, in ms of Unix time: the answer repeats it.
    pub asked_ms: u64,
    /// What this has replaced before it had an answer: who waits for one finds that out here, and in the answer to this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead_of: Option<Question>,
}

/// Which wish.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Question {
    /// Of the [`Wanted`].
    pub by: String,
    /// Of the [`Wanted`], in ms of Unix time.
    pub asked_ms: u64,
}

/// What can be wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Wish {
    /// That the ring looks so.
    Become {
        /// The layout; states `down` and incarnations in it say nothing, the coordinator sets them.
        layout: Layout,
        /// The epoch of the document that the wish was made from (0: there was none): if the document has gone on, it is
        /// refused, and whoever asks looks again.
        epoch: u64,
    },
    /// That the change under way is dropped.
    Abort,
    /// That these nodes, which are known to be lost, are taken to be so without a vote.
    Lose(Vec<String>),
    /// That the newest document that anybody has is published again after etcd has lost it.
    Publish,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Answer {
    /// Of the [`Wanted`] that this answers.
    pub by: String,
    /// Of the [`Wanted`] that this answers, in ms of Unix time.
    pub asked_ms: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it was refused; empty if it was done.
    #[serde(default)]
    pub reason: String,
    /// The document's epoch when it ended.
    pub epoch: u64,
    /// Of the [`Wanted`] that this answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead_of: Option<Question>,
}

/// What has become of a wish, by what stands in etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stands there.
    Waits,
    /// It was answered.
    Answered(Answer),
    /// Another wish has taken its place.
    Replaced {
        /// Whose.
        by: String,
        /// What became of that one, if that is known yet.
        answer: Option<Answer>,
    },
    /// It stands there no longer, and nothing tells of it: somebody has asked for something else since it was answered, or etcd
    /// was restored.
    Unknown,
}

impl Wanted {
    /// Which wish it is.
    #[must_use]
    pub fn question(&self) -> Question {
        Question { by: self.by.clone(), asked_ms: self.asked_ms }
    }
}

impl Answer {
    fn question(&self) -> Question {
        Question { by: self.by.clone(), asked_ms: self.asked_ms }
    }
}

impl Fate {
    /// That of a wish, by what is wanted and what was answered last.
    #[must_use]
    pub fn of(question: &Question, wanted: Option<Wanted>, answer: Option<Answer>) -> Fate {
        match (wanted, answer) {
            (_, Some(answer)) if answer.question() == *question => Fate::Answered(answer),
            (Some(wanted), _) if wanted.question() == *question => Fate::Waits,
            (Some(wanted), _) if wanted.instead_of.as_ref() == Some(question) => Fate::Replaced { by: wanted.by, answer: None },
            (_, Some(answer)) if answer.instead_of.as_ref() == Some(question) => {
                Fate::Replaced { by: answer.by.clone(), answer: Some(answer) }
            }
            _ => Fate::Unknown,
        }
    }
}

/// How a wish ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The ring has the layout, and nothing changes any more.
    Done,
    /// The ring stays as it is.
    Refused,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_and_answers_are_written_as_ever() {
        let mut layout = Layout::parse(br#"{"nodes":[{"id":"a","url":"redis://a:6379"}]}"#, 512).unwrap();
        layout.pins.insert(7, "a".to_owned());
        let nodes = r#"[{"id":"a","url":"redis://a:6379","weight":1,"state":"serving","incarnation":0}]"#;
        for (wish, json) in [
            (Wish::Become { layout, epoch: 3 }, format!(r#"{{"become":{{"layout":{{"nodes":{nodes},"pins":{{"7":"a"}}}},"epoch":3}}}}"#)),
            (Wish::Abort, r#""abort""#.to_owned()),
            (Wish::Lose(vec!["a".to_owned()]), r#"{"lose":["a"]}"#.to_owned()),
            (Wish::Publish, r#""publish""#.to_owned()),
        ] {
            let wanted = Wanted { wish, by: "ann@ops".to_owned(), asked_ms: 5, instead_of: None };
            let json = format!(r#"{{"wish":{json},"by":"ann@ops","asked_ms":5}}"#);
            assert_eq!(serde_json::to_string(&wanted).unwrap(), json);
            assert_eq!(serde_json::from_str::<Wanted>(&json).unwrap(), wanted);
        }
        let answer: Answer = serde_json::from_str(r#"{"by":"ann@ops","asked_ms":5,"outcome":"done","epoch":6}"#).unwrap();
        assert_eq!((answer.outcome, answer.reason.as_str(), answer.epoch), (Outcome::Done, "", 6));
    }

    #[test]
    fn who_has_asked_learns_what_has_become_of_it_from_what_stands_there() {
        let question = |by: &str| Question { by: by.to_owned(), asked_ms: 5 };
        let wanted =
            |by: &str, of: Option<&str>| Wanted { wish: Wish::Abort, by: by.to_owned(), asked_ms: 5, instead_of: of.map(question) };
        let answer = |by: &str, of: Option<&str>| {
            let (reason, instead_of) = (String::new(), of.map(question));
            Answer { by: by.to_owned(), asked_ms: 5, outcome: Outcome::Done, reason, epoch: 6, instead_of }
        };
        let (ann, bob, bob_for_ann) = (wanted("ann", None), wanted("bob", None), wanted("bob", Some("ann")));
        for (wanted, answered, expected) in [
            (Some(ann), None, Fate::Waits),
            (None, Some(answer("ann", None)), Fate::Answered(answer("ann", None))),
            // It had its answer before somebody asked instead of another.
            (Some(bob_for_ann.clone()), Some(answer("ann", None)), Fate::Answered(answer("ann", None))),
            (Some(bob_for_ann), None, Fate::Replaced { by: "bob".to_owned(), answer: None }),
            (None, Some(answer("bob", Some("ann"))), Fate::Replaced { by: "bob".to_owned(), answer: Some(answer("bob", Some("ann"))) }),
            (Some(bob), Some(answer("bob", Some("eve"))), Fate::Unknown),
            (None, None, Fate::Unknown),
        ] {
            assert_eq!(Fate::of(&question("ann"), wanted, answered), expected);
        }
        let later = Question { asked_ms: 6, ..question("ann") };
        assert_eq!(Fate::of(&later, None, Some(answer("ann", None))), Fate::Unknown, "that is an older one's");
    }
}
