//! Pure: how a change is asked for: the coordinator alone writes the document, so whoever wants something of it leaves
//! this in etcd at `/headcount/<region>/wanted`, created only while nobody else's stands there. The coordinator carries it out or
//! refuses it, deletes it in the same transaction in which it is done, and answers at `/headcount/<region>/wanted/result`.

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
            let wanted = Wanted { wish, by: "ann@ops".to_owned(), asked_ms: 5 };
            let json = format!(r#"{{"wish":{json},"by":"ann@ops","asked_ms":5}}"#);
            assert_eq!(serde_json::to_string(&wanted).unwrap(), json);
            assert_eq!(serde_json::from_str::<Wanted>(&json).unwrap(), wanted);
        }
        let answer: Answer = serde_json::from_str(r#"{"by":"ann@ops","asked_ms":5,"outcome":"done","epoch":6}"#).unwrap();
        assert_eq!((answer.outcome, answer.reason.as_str(), answer.epoch), (Outcome::Done, "", 6));
    }
}
