//! Pure: the queue of one command connection. Commands of many callers are gathered and written together, because to Redis
//! one that comes alone costs twenty times as much; replies belong to them in the order in which they were written. A node does one
//! after the other, so what is short and urgent would wait behind all that was written before it: commands that may wait have a
//! lane of their own, of which few are under way at once.

use super::{NotSent, Script};
use std::collections::VecDeque;

/// Commands that wait for one node or for its answers. At this the next is refused: [`NotSent::Full`].
pub const COMMANDS_MAX: usize = 65_536;
/// Their bytes; likewise.
pub const COMMAND_BYTES_MAX: usize = 32 * 1024 * 1024;
/// So many gathered commands, or bytes, are written whatever is under way.
const BATCH_COMMANDS: usize = 256;
const BATCH_BYTES: usize = 64 * 1024;
/// Fewer than that wait while so many batches are unanswered. So the gathering takes as long as an answer does, and a lone
/// command goes at once.
const BATCHES_UNDER_WAY_MAX: usize = 2;
/// So many commands that may wait are unanswered at once. Each takes a node some tenths of a millisecond, and whatever is urgent waits
/// for so many of them.
pub const PATIENT_UNDER_WAY_MAX: usize = 8;
/// How long a caller waits for an answer.
pub const CALL_DEADLINE_MS: u64 = 1_000;

/// `T` is what a caller waits at.
#[derive(Debug)]
pub struct Pipeline<T> {
    urgent: Lane<T>,
    patient: Lane<T>,
    sent: VecDeque<Waiting<T>>,
    /// How many at the front of `sent` nobody waits for any more.
    given_up: usize,
    /// How many urgent commands each batch under way still has unanswered.
    batches: VecDeque<usize>,
    /// How many patient commands are unanswered.
    patient_under_way: usize,
    /// Bytes of all that is queued or sent.
    bytes: usize,
    /// Why there is nothing to wait for any more.
    closed: Option<NotSent>,
}

/// Whether what comes later may go before a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// No: somebody waits for it, and it is short.
    Urgent,
    /// Yes.
    Patient,
}

/// Commands that are not written yet, in their order.
#[derive(Debug)]
struct Lane<T> {
    /// Their bytes, one after the other.
    gathered: Vec<u8>,
    queued: VecDeque<Waiting<T>>,
}

#[derive(Debug)]
struct Waiting<T> {
    caller: Option<T>,
    bytes: usize,
    until_ms: u64,
    haste: Haste,
}

impl<T> Lane<T> {
    fn new() -> Lane<T> {
        Lane { gathered: Vec::new(), queued: VecDeque::new() }
    }

    /// Moves the first `count` commands to `sent`, and their bytes to `out`.
    fn take(&mut self, count: usize, sent: &mut VecDeque<Waiting<T>>, out: &mut Vec<u8>) {
        if count < self.queued.len() {
            let bytes: usize = self.queued.iter().take(count).map(|waiting| waiting.bytes).sum();
            out.extend(self.gathered.drain(..bytes));
            sent.extend(self.queued.drain(..count));
        } else {
            out.append(&mut self.gathered);
            sent.append(&mut self.queued);
        }
    }

    /// Gives up on what has waited until its deadline. Returns how many bytes that were.
    fn expire(&mut self, now_ms: u64, given_up: &mut Vec<Unanswered<T>>) -> usize {
        let mut bytes = 0;
        while let Some(waiting) = self.queued.pop_front_if(|waiting| waiting.until_ms <= now_ms) {
            bytes += waiting.bytes;
            given_up.extend(waiting.caller.map(Unanswered::NotSent));
        }
        self.gathered.drain(..bytes);
        bytes
    }
}

/// A caller whose command was not answered.
#[derive(Debug, PartialEq, Eq)]
pub enum Unanswered<T> {
    /// It was not sent, and will not be.
    NotSent(T),
    /// It was.
    Sent(T),
}

impl<T> Default for Pipeline<T> {
    fn default() -> Pipeline<T> {
        let (urgent, patient, sent, batches) = (Lane::new(), Lane::new(), VecDeque::new(), VecDeque::new());
        Pipeline { urgent, patient, sent, given_up: 0, batches, patient_under_way: 0, bytes: 0, closed: None }
    }
}

impl<T> Pipeline<T> {
    /// Puts a command at the end of its lane. Says whether the connection should be told that there is something to write.
    pub fn push(&mut self, haste: Haste, encode: impl FnOnce(&mut Vec<u8>), caller: Option<T>, now_ms: u64) -> Result<bool, NotSent> {
        if let Some(reason) = &self.closed {
            return Err(reason.clone());
        }
        if self.urgent.queued.len() + self.patient.queued.len() + self.sent.len() >= COMMANDS_MAX {
            return Err(NotSent::Full);
        }
        let lane = match haste {
            Haste::Urgent => &mut self.urgent,
            Haste::Patient => &mut self.patient,
        };
        let before = lane.gathered.len();
        encode(&mut lane.gathered);
        let bytes = lane.gathered.len() - before;
        if self.bytes + bytes > COMMAND_BYTES_MAX {
            lane.gathered.truncate(before);
            return Err(if bytes > COMMAND_BYTES_MAX { NotSent::TooLarge(bytes) } else { NotSent::Full });
        }
        self.bytes += bytes;
        lane.queued.push_back(Waiting { caller, bytes, until_ms: now_ms + CALL_DEADLINE_MS, haste });
        Ok(lane.queued.len() == 1 || self.is_enough())
    }

    /// Whether urgent commands are written whatever is under way.
    fn is_enough(&self) -> bool {
        self.urgent.queued.len() >= BATCH_COMMANDS || self.urgent.gathered.len() >= BATCH_BYTES
    }

    /// Takes what may be written now, the urgent first; returns how many commands that is. `out` is empty.
    pub fn take(&mut self, out: &mut Vec<u8>) -> usize {
        let before = self.sent.len();
        let urgent = self.urgent.queued.len();
        if urgent > 0 && (self.batches.len() < BATCHES_UNDER_WAY_MAX || self.is_enough()) {
            self.urgent.take(urgent, &mut self.sent, out);
            self.batches.push_back(urgent);
        }
        let patient = self.patient.queued.len().min(PATIENT_UNDER_WAY_MAX - self.patient_under_way);
        self.patient.take(patient, &mut self.sent, out);
        self.patient_under_way += patient;
        self.sent.len() - before
    }

    /// The next reply has come: to whom it belongs. The outer `None` if it belongs to no command.
    pub fn answered(&mut self) -> Option<Option<T>> {
        let waiting = self.sent.pop_front()?;
        self.given_up = self.given_up.saturating_sub(1);
        self.bytes -= waiting.bytes;
        if waiting.haste == Haste::Patient {
            self.patient_under_way -= 1;
        } else if let Some(batch) = self.batches.front_mut() {
            *batch -= 1;
            if *batch == 0 {
                self.batches.pop_front();
            }
        }
        Some(waiting.caller)
    }

    /// Gives up on what has waited until its deadline.
    pub fn expire(&mut self, now_ms: u64) -> Vec<Unanswered<T>> {
        let mut given_up = Vec::new();
        while let Some(waiting) = self.sent.get_mut(self.given_up).filter(|waiting| waiting.until_ms <= now_ms) {
            // Its place is kept: its answer may yet come.
            given_up.extend(waiting.caller.take().map(Unanswered::Sent));
            self.given_up += 1;
        }
        self.bytes -= self.urgent.expire(now_ms, &mut given_up) + self.patient.expire(now_ms, &mut given_up);
        given_up
    }

    /// Ends it: everything that waits, and what every later caller is told.
    pub fn close(&mut self, reason: NotSent) -> Vec<Unanswered<T>> {
        self.closed = Some(reason);
        let lanes = [&mut self.urgent, &mut self.patient].map(|lane| std::mem::replace(lane, Lane::new()));
        self.batches.clear();
        (self.given_up, self.patient_under_way, self.bytes) = (0, 0, 0);
        let sent = self.sent.drain(..).filter_map(|waiting| waiting.caller.map(Unanswered::Sent));
        let queued = lanes.into_iter().flat_map(|lane| lane.queued);
        sent.chain(queued.filter_map(|waiting| waiting.caller.map(Unanswered::NotSent))).collect()
    }

    /// Whether answers are awaited.
    pub fn is_under_way(&self) -> bool {
        !self.sent.is_empty()
    }
}

/// Writes `EVALSHA`, or `EVAL` for a script that the node does not know.
pub fn write_call(out: &mut Vec<u8>, script: &Script, is_known: bool, keys: &[&[u8]], args: &[&[u8]]) {
    header(out, b'*', 3 + keys.len() + args.len());
    let (name, which): (&[u8], &[u8]) = if is_known { (b"EVALSHA", script.sha1().as_bytes()) } else { (b"EVAL", script.code().as_bytes()) };
    let count = keys.len().to_string();
    for word in [name, which, count.as_bytes()].iter().chain(keys).chain(args) {
        header(out, b'$', word.len());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

fn header(out: &mut Vec<u8>, kind: u8, mut number: usize) {
    // Written for every word of every command, so without the formatting machinery.
    let mut digits = [0; 20];
    let mut from = digits.len();
    loop {
        from -= 1;
        digits[from] = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.push(kind);
    out.extend_from_slice(&digits[from..]);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(pipeline: &mut Pipeline<usize>, caller: usize, now_ms: u64) {
        pipeline.push(Haste::Urgent, |out| out.extend(format!("{caller};").bytes()), Some(caller), now_ms).unwrap();
    }

    fn push_patient(pipeline: &mut Pipeline<usize>, caller: usize, now_ms: u64) {
        pipeline.push(Haste::Patient, |out| out.extend(format!("{caller};").bytes()), Some(caller), now_ms).unwrap();
    }

    fn take(pipeline: &mut Pipeline<usize>) -> String {
        let mut out = Vec::new();
        pipeline.take(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_lone_command_goes_at_once_and_more_are_gathered_while_two_batches_are_under_way() {
        let mut pipeline = Pipeline::default();
        for caller in 0..2 {
            push(&mut pipeline, caller, 0);
            assert_eq!(take(&mut pipeline), format!("{caller};"));
        }
        push(&mut pipeline, 2, 0);
        push(&mut pipeline, 3, 0);
        assert_eq!(take(&mut pipeline), "");
        assert_eq!(pipeline.answered(), Some(Some(0)));
        assert_eq!(take(&mut pipeline), "2;3;");
        assert_eq!([1, 2, 3].map(|_| pipeline.answered()), [1, 2, 3].map(|caller| Some(Some(caller))));
        assert_eq!((pipeline.answered(), pipeline.is_under_way(), pipeline.bytes), (None, false, 0));
    }

    #[test]
    fn of_patient_commands_few_are_under_way_and_urgent_ones_go_before_the_rest() {
        let mut pipeline = Pipeline::default();
        let patient = PATIENT_UNDER_WAY_MAX;
        (100..100 + 2 * patient).for_each(|caller| push_patient(&mut pipeline, caller, 0));
        assert_eq!(pipeline.take(&mut Vec::new()), patient);
        for caller in 0..2 {
            push(&mut pipeline, caller, 0);
            assert_eq!(take(&mut pipeline), format!("{caller};"), "whatever patient ones are under way");
        }
        push(&mut pipeline, 2, 0);
        assert_eq!(take(&mut pipeline), "", "two urgent batches are under way");
        assert_eq!(pipeline.answered(), Some(Some(100)));
        assert_eq!(take(&mut pipeline), format!("{};", 100 + patient), "one for one");
        (1..patient).for_each(|_| _ = pipeline.answered());
        assert_eq!(pipeline.answered(), Some(Some(0)));
        let all = take(&mut pipeline);
        assert!(all.starts_with(&format!("2;{};", 101 + patient)), "the urgent first: {all}");
        assert_eq!(all.matches(';').count(), patient);
        assert_eq!([1, 100 + patient, 2].map(|_| pipeline.answered()), [1, 100 + patient, 2].map(|caller| Some(Some(caller))));
    }

    #[test]
    fn patient_commands_are_given_up_and_told_like_others() {
        let mut pipeline = Pipeline::default();
        (0..=PATIENT_UNDER_WAY_MAX).for_each(|caller| push_patient(&mut pipeline, caller, 0));
        take(&mut pipeline);
        push_patient(&mut pipeline, 77, 500);
        let given_up = pipeline.expire(1_000);
        assert_eq!(given_up.last(), Some(&Unanswered::NotSent(PATIENT_UNDER_WAY_MAX)));
        assert_eq!(given_up.len(), PATIENT_UNDER_WAY_MAX + 1);
        assert_eq!(take(&mut pipeline), "", "the node has not answered those that nobody waits for");
        assert_eq!(pipeline.answered(), Some(None));
        assert_eq!(take(&mut pipeline), "77;");
        (1..PATIENT_UNDER_WAY_MAX).for_each(|_| assert_eq!(pipeline.answered(), Some(None)));
        assert_eq!((pipeline.answered(), pipeline.bytes), (Some(Some(77)), 0));
    }

    #[test]
    fn a_full_batch_waits_for_nothing() {
        let mut pipeline = Pipeline::default();
        for caller in 0..2 {
            push(&mut pipeline, caller, 0);
            take(&mut pipeline);
        }
        for caller in 0..BATCH_COMMANDS {
            assert_eq!(take(&mut pipeline), "");
            push(&mut pipeline, caller, 0);
        }
        assert_eq!(pipeline.take(&mut Vec::new()), BATCH_COMMANDS);
    }

    #[test]
    fn who_waited_too_long_is_told_whether_it_was_sent_and_later_answers_still_find_their_callers() {
        let mut pipeline = Pipeline::default();
        push(&mut pipeline, 1, 0);
        take(&mut pipeline);
        push(&mut pipeline, 2, 500);
        take(&mut pipeline);
        push(&mut pipeline, 3, 500);
        push(&mut pipeline, 4, 600);
        assert_eq!(pipeline.expire(999), []);
        assert_eq!(pipeline.expire(1_000), [Unanswered::Sent(1)]);
        assert_eq!(pipeline.expire(1_500), [Unanswered::Sent(2), Unanswered::NotSent(3)]);
        assert_eq!([pipeline.answered(), pipeline.answered()], [Some(None), Some(None)]);
        assert_eq!(take(&mut pipeline), "4;");
        assert_eq!(pipeline.answered(), Some(Some(4)));
        assert_eq!(pipeline.bytes, 0);
    }

    #[test]
    fn at_the_bound_the_next_is_refused_and_a_closed_one_says_why() {
        let mut pipeline = Pipeline::default();
        let big = |out: &mut Vec<u8>| out.resize(out.len() + COMMAND_BYTES_MAX + 1, 0);
        assert_eq!(pipeline.push(Haste::Patient, big, Some(0), 0), Err(NotSent::TooLarge(COMMAND_BYTES_MAX + 1)));
        for caller in 0..COMMANDS_MAX {
            push(&mut pipeline, caller, 0);
        }
        assert_eq!(pipeline.push(Haste::Urgent, |_| {}, Some(0), 0), Err(NotSent::Full));
        take(&mut pipeline);
        assert_eq!(pipeline.push(Haste::Urgent, |_| {}, Some(0), 0), Err(NotSent::Full));
        pipeline.answered();
        push(&mut pipeline, 7, 0);
        let left = pipeline.close(NotSent::Loading);
        assert_eq!(left.len(), COMMANDS_MAX);
        assert_eq!((&left[0], &left[COMMANDS_MAX - 1]), (&Unanswered::Sent(1), &Unanswered::NotSent(7)));
        assert_eq!(pipeline.push(Haste::Urgent, |_| {}, Some(0), 0), Err(NotSent::Loading));
    }

    #[test]
    fn a_call_is_written_as_redis_reads_it() {
        let script = Script::new("return 1");
        let mut out = Vec::new();
        write_call(&mut out, &script, true, &[b"key"], &[b"", b"0123456789"]);
        let words = format!("*6\r\n$7\r\nEVALSHA\r\n$40\r\n{}\r\n$1\r\n1\r\n$3\r\nkey\r\n$0\r\n\r\n$10\r\n0123456789\r\n", script.sha1());
        assert_eq!(String::from_utf8(out).unwrap(), words);
    }
}
