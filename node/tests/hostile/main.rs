//! Clients, services and neighbours that send what nobody should, through the real binary: each is refused with its code, costs
//! nobody else anything, and changes nothing.

#![allow(clippy::unwrap_used)] // a test that cannot go on says where

mod attackers;
mod forms;
mod frames;
mod malformed;
mod neighbours;
mod payloads;
mod raw;
mod slow;
