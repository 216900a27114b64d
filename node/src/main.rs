//! I/O: the binary `headcount`.

use std::process::ExitCode;

/// Every delivery allocates and frees on several threads; measured faster there than the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    node::cli::main()
}
