//! I/O: `headcount plan`: how many machines a load needs.

use crate::{
    failure::Failure,
    plan::{Load, Plan, TABLE},
};
use clap::Args;
use serde_json::json;
use std::io::{self, Write};

/// What to plan for, and how to tell it.
#[derive(Args, Debug)]
pub struct PlanCommand {
    #[command(flatten)]
    load: Load,
    /// As JSON, with every number that the plan goes by.
    #[arg(long)]
    json: bool,
    /// Also the table of all numbers that the plan goes by, each with its source.
    #[arg(long, conflicts_with = "json")]
    constants: bool,
}

/// Makes the plan.
pub fn run(command: &PlanCommand) -> Result<(), Failure> {
    let plan = Plan::of(&command.load).map_err(|reason| Failure::Usage(reason.to_string()))?;
    if command.json {
        return out(&format!("{:#}\n", json!(plan)));
    }
    out(&plan.to_string())?;
    if command.constants {
        out("\nNumbers, as their sources write them\n")?;
        for constant in TABLE {
            out(&format!("  {:20} {:>9} {:8} {}\n", constant.name, constant.value, constant.unit, constant.source))?;
        }
    }
    Ok(())
}

fn out(text: &str) -> Result<(), Failure> {
    write!(io::stdout(), "{text}").map_err(Failure::Output)
}
