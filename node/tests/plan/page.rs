//! docs/capacity.md shows what the program prints.

use crate::{program::headcount, repository};

#[test]
fn every_plan_on_the_page_is_what_the_program_prints() {
    let page = repository("docs/capacity.md");
    let blocks = page.split("\n```text\n$ headcount ").skip(1);
    let mut count = 0;
    for block in blocks {
        let block = block.split("\n```").next().unwrap();
        // The command may go on in further lines.
        let command = block.split_inclusive('\n').scan(true, |goes_on, line| {
            let is_part = std::mem::replace(goes_on, line.ends_with("\\\n"));
            is_part.then_some(line)
        });
        let command: String = command.collect();
        let shown = &block[command.len()..];
        let args = command.replace("\\\n", " ");
        let (code, printed, err) = headcount(&args.split_whitespace().collect::<Vec<_>>());
        assert_eq!((code, err.as_str()), (0, ""));
        assert_eq!(shown.trim_end(), printed.trim_end(), "docs/capacity.md shows something else for headcount {args}");
        count += 1;
    }
    assert!(count >= 1, "the page shows no plan");
}
