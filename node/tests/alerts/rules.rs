//! Pure: the shipped rules, and what is done to them so that a run takes minutes: every `for:` and every range window is divided by
//! a factor, and nothing else is touched.

use std::time::Duration;

/// A rule: the name of its alert and its severity, which together are told apart from every other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rule {
    pub(crate) alert: String,
    pub(crate) severity: String,
}

/// The rules in the text of a file, in its order.
pub(crate) fn rules(text: &str) -> Vec<Rule> {
    let rule = |text: &str| {
        let alert = text.lines().next().unwrap_or_default().trim();
        let severity = text.split_once("severity: ").and_then(|(_, rest)| rest.split([',', ' ', '}', '\n']).next());
        Rule { alert: alert.to_owned(), severity: severity.unwrap_or_default().to_owned() }
    };
    text.split("- alert: ").skip(1).map(rule).collect()
}

/// The same rules in less time: each `for:` that is not nothing, and each range window of an `expr:`, is `factor` times shorter, and at
/// least `least`. Each stands on one line.
pub(crate) fn shortened(text: &str, factor: u32, least: Duration) -> String {
    let shorter = |written: &str| match milliseconds(written) {
        None | Some(0) => written.to_owned(),
        Some(ms) => format!("{}ms", (ms / u64::from(factor)).max(u64::try_from(least.as_millis()).unwrap_or(u64::MAX))),
    };
    let line = |line: &str| {
        let trimmed = line.trim_start();
        if let Some(pause) = trimmed.strip_prefix("for: ") {
            line.replace(pause, &shorter(pause))
        } else if trimmed.starts_with("expr: ") {
            let mut parts = line.split('[');
            let first = parts.next().unwrap_or_default().to_owned();
            parts.fold(first, |text, part| match part.split_once(']') {
                Some((window, rest)) => format!("{text}[{}]{rest}", shorter(window)),
                None => format!("{text}[{part}"),
            })
        } else {
            line.to_owned()
        }
    };
    text.lines().map(|text| line(text) + "\n").collect()
}

/// Of a duration as Prometheus has it, with one unit.
fn milliseconds(written: &str) -> Option<u64> {
    let (number, unit) = written.split_at(written.find(|digit: char| !digit.is_ascii_digit())?);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(number.parse::<u64>().ok()? * unit_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: Duration = Duration::from_secs(3);

    #[test]
    fn windows_and_pauses_are_divided_and_bounded_from_below() {
        let text = "  expr: rate(a{b=\"c\"}[1h]) / rate(d[5m]) > 0.1 and e[1d] < 60\n  for: 10m\n  for: 0s\n  summary: \"for: 5m, [5m]\"\n";
        let expected = "  expr: rate(a{b=\"c\"}[60000ms]) / rate(d[5000ms]) > 0.1 and e[1440000ms] < 60\n  for: 10000ms\n  for: 0s\n  summary: \"for: 5m, [5m]\"\n";
        assert_eq!(shortened(text, 60, LEAST), expected);
        assert_eq!(shortened("for: 10s\nexpr: a[1m]\n", 60, LEAST), "for: 3000ms\nexpr: a[3000ms]\n");
    }

    #[test]
    fn of_the_shipped_rules_nothing_else_changes() {
        let (before, after) = (crate::RULES, shortened(crate::RULES, 60, LEAST));
        assert_eq!(rules(before), rules(&after));
        assert_eq!(before.lines().count(), after.lines().count());
        let mut changed = 0;
        for (before, after) in before.lines().zip(after.lines()) {
            changed += usize::from(before != after);
            assert_eq!(without_times(before), without_times(after));
        }
        assert!(changed > 40, "{changed} lines changed");
        let pauses = after.lines().filter_map(|line| line.trim_start().strip_prefix("for: "));
        let long: Vec<&str> = pauses.filter(|pause| !pause.ends_with("ms") && *pause != "0s").collect();
        assert!(long.is_empty(), "{long:?}");
    }

    /// A line with `?` in place of its pause or its windows.
    fn without_times(line: &str) -> String {
        let blank = |line: &str, from: &str, to: &str| {
            let mut parts = line.split(from);
            let first = parts.next().unwrap_or_default().to_owned();
            parts.fold(first, |text, part| format!("{text}{from}?{}", part.find(to).map_or("", |at| &part[at..])))
        };
        match line.trim_start() {
            text if text.starts_with("for: ") => blank(line, "for: ", "\n"),
            text if text.starts_with("expr: ") => blank(line, "[", "]"),
            _ => line.to_owned(),
        }
    }
}
