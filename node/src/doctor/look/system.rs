//! I/O: what `/proc` and `/sys` tell of limits.

use crate::doctor::system::System;
use std::{fs, path::Path};

/// Of the process `node` that runs, or of this one; `is_redis_here`: whether a Redis node of the ring is on this host.
pub(in crate::doctor) fn look(node: Option<u32>, is_redis_here: bool) -> System {
    let process = node.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
    let whose = if node.is_some() { "of the node that runs" } else { "of this shell; a service may have another limit" };
    let descriptors = open_files(&text(&format!("/proc/{process}/limits"))).map(|limit| (limit, whose.to_owned()));
    System {
        descriptors,
        somaxconn: number("/proc/sys/net/core/somaxconn"),
        ephemeral_ports: port_range(&text("/proc/sys/net/ipv4/ip_local_port_range")),
        reserved_ports: text("/proc/sys/net/ipv4/ip_local_reserved_ports"),
        memory_limit: memory_limit(&text(&format!("/proc/{process}/cgroup"))),
        memory_total: memory_total(&text("/proc/meminfo")),
        is_redis_here,
        overcommit: number("/proc/sys/vm/overcommit_memory"),
        huge_pages: chosen(&text("/sys/kernel/mm/transparent_hugepage/enabled")),
    }
}

/// What the system does not tell is empty.
fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn number(path: &str) -> Option<u64> {
    text(path).trim().parse().ok()
}

fn open_files(limits: &str) -> Option<u64> {
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()?;
    if soft == "unlimited" { Some(u64::MAX) } else { soft.parse().ok() }
}

fn port_range(text: &str) -> Option<(u16, u16)> {
    let mut ports = text.split_whitespace().map(str::parse);
    Some((ports.next()?.ok()?, ports.next()?.ok()?))
}

fn memory_total(meminfo: &str) -> Option<u64> {
    let kib: u64 = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

/// The word in brackets.
fn chosen(text: &str) -> Option<String> {
    Some(text.split_once('[')?.1.split_once(']')?.0.to_owned())
}

/// The least limit of the process's memory cgroup and those above it.
fn memory_limit(cgroups: &str) -> Option<u64> {
    let places = cgroups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        match (parts.next()?, parts.next()?, parts.next()?) {
            ("0", "", path) => Some(("/sys/fs/cgroup".to_owned(), "memory.max", path)),
            (_, kinds, path) if kinds.split(',').any(|kind| kind == "memory") => {
                Some(("/sys/fs/cgroup/memory".to_owned(), "memory.limit_in_bytes", path))
            }
            _ => None,
        }
    });
    let limits = places.flat_map(|(root, file, path)| {
        // In a namespace of its own the path is not below the root; the root itself is then the process's own.
        let above: Vec<_> =
            Path::new(path.trim_start_matches('/')).ancestors().map(|part| Path::new(&root).join(part).join(file)).collect();
        above.into_iter().filter_map(|file| fs::read_to_string(file).ok()?.trim().parse::<u64>().ok())
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_out_of_what_the_kernel_writes() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\nMax open files            1024                 524288               files\n";
        assert_eq!(open_files(limits), Some(1024));
        assert_eq!(port_range("32768\t60999\n"), Some((32768, 60999)));
        assert_eq!(memory_total("MemFree: 1 kB\nMemTotal:       2048 kB\n"), Some(2 << 20));
        assert_eq!(chosen("always [madvise] never\n").as_deref(), Some("madvise"));
    }

    #[test]
    fn this_process_has_limits() {
        let system = look(None, false);
        assert!(system.descriptors.is_some_and(|(limit, _)| limit > 10) && system.memory_total.is_some_and(|bytes| bytes > 1 << 20));
        assert!(system.somaxconn.is_some() && system.ephemeral_ports.is_some());
    }
}
