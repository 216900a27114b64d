//! Pure: whether the other end of a connection lives: it is asked every second, and given up when it is silent for long.

/// How often it is asked, in milliseconds.
pub const PING_MS: u64 = 1_000;
/// Silence for so long ends the connection: three questions without an answer within their second. A single one would end
/// connections, and have thousands of channels subscribed anew, for a pause that a fork or a slow script makes.
pub const SILENT_MS: u64 = 3_500;

/// Of one connection.
#[derive(Debug)]
pub struct Watchdog {
    heard_ms: u64,
    asked_ms: u64,
    /// It was silent for too long at the last look.
    is_doubted: bool,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Nothing.
    Well,
    /// Send a PING.
    Ask,
    /// End the connection.
    GiveUp,
}

impl Watchdog {
    /// At the start of a connection.
    #[must_use]
    pub fn new(now_ms: u64) -> Watchdog {
        Watchdog { heard_ms: now_ms, asked_ms: now_ms, is_doubted: false }
    }

    /// Something was received.
    pub fn heard(&mut self, now_ms: u64) {
        (self.heard_ms, self.is_doubted) = (now_ms, false);
    }

    /// Several times a second.
    pub fn look(&mut self, now_ms: u64) -> Look {
        if now_ms >= self.heard_ms + SILENT_MS && self.asked_ms > self.heard_ms {
            // Once more, for perhaps it was this process that slept, and the answer lies there to be read.
            return if std::mem::replace(&mut self.is_doubted, true) { Look::GiveUp } else { Look::Well };
        }
        if now_ms < self.asked_ms + PING_MS {
            return Look::Well;
        }
        self.asked_ms = now_ms;
        Look::Ask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_asked_every_second_and_given_up_after_three_without_an_answer() {
        let mut watchdog = Watchdog::new(0);
        let looks = |watchdog: &mut Watchdog, range: std::ops::Range<u64>| {
            range.step_by(100).map(|now| (now, watchdog.look(now))).filter(|(_, look)| *look != Look::Well).collect::<Vec<_>>()
        };
        assert_eq!(looks(&mut watchdog, 0..2_000), [(1_000, Look::Ask)]);
        watchdog.heard(2_000);
        assert_eq!(
            looks(&mut watchdog, 2_000..5_700),
            [(2_000, Look::Ask), (3_000, Look::Ask), (4_000, Look::Ask), (5_000, Look::Ask), (5_600, Look::GiveUp)]
        );
    }

    #[test]
    fn a_process_that_slept_itself_asks_before_it_gives_up() {
        let mut watchdog = Watchdog::new(0);
        assert_eq!(watchdog.look(60_000), Look::Ask);
        assert_eq!(watchdog.look(120_000), Look::Well);
        watchdog.heard(120_000);
        assert_eq!(watchdog.look(120_050), Look::Ask);
    }
}
