//! Pure: how many lines one event may have, and how many were left out.

/// Time in which the lines of one event are counted together.
pub(super) const WINDOW_MS: u64 = 10_000;
/// Characters of a message that the line about those left out repeats.
pub(super) const MESSAGE_CHARS_MAX: usize = 120;

/// The lines of one event: of one place in the code, whatever they say.
#[derive(Debug, Default)]
pub(super) struct Window {
    since_ms: u64,
    written: u32,
    left_out: u64,
    /// What the first of those left out says.
    message: String,
}

/// What has to be told of a window that is over.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// How many lines.
    pub(super) lines: u64,
    /// What the first of them says, shortened.
    pub(super) message: String,
}

impl Window {
    /// Whether one more line is written, of at most so many in a window; 0: any number. Otherwise it is counted, and `message` is asked for the first time.
    pub(super) fn admits(&mut self, most: u32, now_ms: u64, message: impl FnOnce() -> String) -> bool {
        if self.is_over(now_ms) && self.left_out == 0 {
            (self.since_ms, self.written) = (now_ms, 0);
        }
        if most == 0 || self.written < most {
            self.written = self.written.saturating_add(1);
            return true;
        }
        if self.left_out == 0 {
            self.message = message().chars().take(MESSAGE_CHARS_MAX).collect();
        }
        self.left_out += 1;
        false
    }

    /// Ends a window that is over, or any if it is the `last` word; what has to be told of it, if something was left out.
    pub(super) fn end(&mut self, last: bool, now_ms: u64) -> Option<LeftOut> {
        if self.left_out == 0 || !(last || self.is_over(now_ms)) {
            return None;
        }
        let told = LeftOut { lines: self.left_out, message: std::mem::take(&mut self.message) };
        *self = Window { since_ms: now_ms, ..Window::default() };
        Some(told)
    }

    fn is_over(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.since_ms) >= WINDOW_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(window: &mut Window, lines: u32, now_ms: u64) -> u32 {
        (0..lines).map(|line| u32::from(window.admits(10, now_ms, || format!("line {line}")))).sum()
    }

    #[test]
    fn so_many_lines_are_written_in_a_window_and_the_rest_is_told_in_one() {
        let mut window = Window::default();
        assert_eq!(admitted(&mut window, 25, 20_000), 10);
        assert_eq!(window.end(false, 20_000 + WINDOW_MS - 1), None);
        let told = LeftOut { lines: 15, message: "line 10".to_owned() };
        assert_eq!(window.end(false, 20_000 + WINDOW_MS), Some(told));
        assert_eq!(window.end(false, 20_000 + 2 * WINDOW_MS), None);
        assert_eq!(admitted(&mut window, 25, 20_001 + WINDOW_MS), 10);
    }

    #[test]
    fn lines_that_are_far_enough_apart_are_all_written() {
        let mut window = Window::default();
        for second in 0..1_000 {
            assert_eq!(admitted(&mut window, 1, second * WINDOW_MS / 10), 1, "{second}");
        }
        assert_eq!(window.end(true, 1_000_000), None);
    }

    #[test]
    fn what_was_left_out_is_told_before_more_is_written() {
        let mut window = Window::default();
        assert_eq!(admitted(&mut window, 11, 0), 10);
        // Nobody has told of it yet: the window goes on.
        assert_eq!(admitted(&mut window, 1, 5 * WINDOW_MS), 0);
        assert_eq!(window.end(false, 5 * WINDOW_MS).unwrap().lines, 2);
        assert_eq!(admitted(&mut window, 1, 5 * WINDOW_MS), 1);
    }

    #[test]
    fn the_last_word_does_not_wait_for_the_end_of_the_window_and_messages_are_shortened() {
        let mut window = Window::default();
        assert_eq!(admitted(&mut window, 10, 0), 10);
        assert!(!window.admits(10, 0, || "é".repeat(1_000)));
        assert_eq!(window.end(true, 0), Some(LeftOut { lines: 1, message: "é".repeat(MESSAGE_CHARS_MAX) }));
    }

    #[test]
    fn without_a_limit_everything_is_written() {
        let mut window = Window::default();
        assert!((0..10_000).all(|_| window.admits(0, 0, String::new)));
    }
}
