//! I/O: waits for conditions, never for time to pass.

use std::time::Duration;

/// Milliseconds between two looks at a condition.
const LOOK_INTERVAL_MS: u64 = 20;

/// Looks again and again until `look` gives an answer, and returns that.
///
/// Panics with the last reason of `look` when `timeout` has passed.
pub async fn eventually<T, E: std::fmt::Display>(timeout: Duration, mut look: impl AsyncFnMut() -> Result<T, E>) -> T {
    let deadline = tokio::time::Instant::now() + timeout;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(reason) if tokio::time::Instant::now() >= deadline => panic!("not within {timeout:?}: {reason}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(LOOK_INTERVAL_MS)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn eventually_looks_until_there_is_an_answer() {
        let mut looks = 0;
        let found = eventually(Duration::from_secs(5), async || {
            looks += 1;
            if looks < 3 { Err("not yet") } else { Ok(looks) }
        });
        assert_eq!(found.await, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "not within 1ms: still dark")]
    async fn eventually_gives_up_with_the_reason() {
        eventually(Duration::from_millis(1), async || Err::<(), _>("still dark")).await;
    }
}
