//! I/O: what the kernel says of each thread of this process, as far as it may be read.

use std::{fmt::Write, fs, path::Path};

/// Threads that are described; more are left out, and counted.
const THREADS_MAX: usize = 256;

/// A line for each thread: its id and name, its state (`R` runs, `S` and `D` wait), ticks of CPU in user mode and in the kernel,
/// what it waits for in the kernel, and the number of its system call.
#[must_use]
pub(super) fn describe() -> String {
    let mut text = String::new();
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return "  /proc/self/task cannot be read\n".to_owned() };
    let mut left_out = 0;
    for (at, thread) in threads.flatten().enumerate() {
        if at >= THREADS_MAX {
            left_out += 1;
            continue;
        }
        let path = thread.path();
        let read = |name: &str| fs::read_to_string(path.join(name)).map(|text| text.trim().to_owned()).unwrap_or_else(|_| "?".to_owned());
        let stat = read("stat");
        let [state, user, kernel] = [0, 11, 12].map(|at| field(&stat, at));
        let (name, wait, call) = (read("comm"), read("wchan"), read("syscall"));
        let call = call.split(' ').next().unwrap_or_default();
        let id = path.file_name().unwrap_or(Path::new("?").as_os_str()).to_string_lossy();
        let _ = writeln!(text, "  thread {id} {name}: state {state}, cpu {user}+{kernel} ticks, waits in {wait}, system call {call}");
    }
    if left_out > 0 {
        let _ = writeln!(text, "  and {left_out} more");
    }
    text
}

/// Of a line of `/proc/<pid>/stat`, the field `at` places behind the name, which stands in parentheses and may hold anything.
fn field(stat: &str, at: usize) -> &str {
    stat.rsplit_once(") ").and_then(|(_, fields)| fields.split(' ').nth(at)).unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_behind_the_name_whatever_it_is() {
        let stat = "12 (a) b (c) S 1 12 12 0 -1 4194560 100 0 0 0 7 9 0 0 20";
        assert_eq!((field(stat, 0), field(stat, 11), field(stat, 12), field("?", 0)), ("S", "7", "9", "?"));
    }

    #[test]
    fn a_thread_is_described_by_its_name() {
        let (here, is_here) = std::sync::mpsc::channel::<()>();
        let (send, receive) = std::sync::mpsc::channel::<()>();
        let wait = move || {
            here.send(()).unwrap();
            receive.recv()
        };
        let thread = std::thread::Builder::new().name("waits-here".to_owned()).spawn(wait).unwrap();
        is_here.recv().unwrap();
        let text = describe();
        drop(send);
        assert!(thread.join().unwrap().is_err());
        assert!(text.lines().any(|line| line.contains(" waits-here: state ")), "{text}");
    }
}
