//! Pure: a plan as text for people.

use super::{Grown, Machines, Nearness, Outcome, Plan, TABLE, constant::Source, traffic::Cost};
use std::fmt::{self, Display, Formatter};

/// Growth that is shown; what breaks later stands with the bounds.
const SHOWN_FACTORS: [u64; 4] = [2, 4, 8, 16];
/// Costs below this share of all are not shown.
const SHOWN_SHARE: f64 = 0.005;

/// A number with as many digits as say something.
pub(super) fn short(value: f64) -> String {
    let (value, unit) = [(1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")]
        .into_iter()
        // What would be rounded up to the next unit is written in it.
        .find(|(unit, _)| value >= 0.9995 * unit)
        .map_or((value, ""), |(unit, name)| (value / unit, name));
    let digits = match value {
        value if value >= 99.95 => 0,
        value if value >= 9.995 => 1,
        value if value >= 0.0995 => 2,
        0.0 => 0,
        _ => 4,
    };
    format!("{value:.digits$}{unit}")
}

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (load, region, traffic) = (&self.load, &self.region, &self.region.traffic);
        let (gateways, counters, redis) = (&region.gateways, &region.counters, &region.redis);
        writeln!(f, "{:16}{:>12}{:>8}   each", "", "each region", "in all")?;
        let machine = |cores: f64, nodes: u64, memory: f64| {
            format!("{} of {} cores, {} of {} GiB", short(cores / nodes as f64), load.cores, short(memory), load.memory_gib)
        };
        let rows = [
            ("gateways", gateways.nodes, self.in_all.gateways, machine(gateways.cores, gateways.nodes, gateways.memory_gib)),
            ("counter nodes", counters.nodes, self.in_all.counters, machine(counters.cores, counters.nodes, counters.memory_gib)),
            (
                "Redis nodes",
                redis.nodes,
                self.in_all.redis,
                format!(
                    "{} of 1 core, {} of {} GiB (the fullest)",
                    short(redis.cores / redis.nodes as f64),
                    short(redis.memory_gib),
                    load.memory_gib
                ),
            ),
            ("etcd members", region.etcd, self.in_all.etcd, format!("not measured; {} renewals/s", short(region.renewals))),
        ];
        for (name, here, in_all, each) in rows {
            writeln!(f, "{name:16}{here:>12}{in_all:>8}   {each}")?;
        }

        writeln!(f, "\nEach region, each second")?;
        let messages: f64 = traffic.messages().iter().map(|stream| stream.rate).sum();
        let deliveries: f64 = traffic.messages().iter().map(|stream| stream.deliveries()).sum();
        line(f, "clients", traffic.connections, &format!("of whom {}/s connect", short(traffic.connects)))?;
        line(f, "messages", messages, &format!("to {} clients in all", short(deliveries)))?;
        line(f, "diffs of rosters", traffic.diffs, "to clients")?;
        line(f, "values of counters", traffic.values, "to clients")?;
        line(f, "likes", traffic.likes, &format!("and {} reads", short(traffic.reads)))?;

        writeln!(f, "\nGateways, decided by {}", gateways.decided_by)?;
        costs(f, &gateways.costs)?;
        line(f, "clients of each", gateways.connections, "while all live")?;
        line(f, "rows of each", gateways.far_rows, "of rosters, of members who are elsewhere")?;
        writeln!(
            f,
            "  one dies          its clients take {} s of all free CPU of gateways, {} s of that of Redis nodes; its rows are gone in {} s",
            short(gateways.landing_s),
            short(redis.landing_s),
            short(redis.reap_s)
        )?;

        writeln!(f, "\nCounter nodes, decided by {}", counters.decided_by)?;
        costs(f, &counters.costs)?;
        writeln!(
            f,
            "  disk of each      {} GiB, {} MB/s of log; a start after a crash {} s",
            short(counters.disk_gib),
            short(counters.log_mb_s),
            short(counters.start_s)
        )?;

        writeln!(f, "\nRedis nodes, decided by {}", redis.decided_by)?;
        costs(f, &redis.costs)?;

        writeln!(f, "\nBandwidth of a region, Gbit/s")?;
        line(
            f,
            "to clients",
            region.client_gbit,
            &format!("{} from each gateway (PUSH_BYTES, PACKET_BYTES)", short(gateways.client_gbit)),
        )?;
        line(f, "from clients", region.published_gbit, "messages, likes and reads")?;
        line(f, "from Redis", redis.gateway_gbit, "from the fullest node to gateways")?;
        if load.regions > 1 {
            line(f, "to each region", region.link_gbit, "likes (CHANGE_BYTES) and --global-percent")?;
        }

        writeln!(f, "\nBounds that more machines do not move, the first to break first")?;
        self.limits.iter().try_for_each(|nearness| write!(f, "{nearness}"))?;

        writeln!(f, "\nGrowth: so many times as many users, likes and counters; machines of each region")?;
        for grown in self.growth.iter().filter(|grown| SHOWN_FACTORS.contains(&grown.factor)) {
            write!(f, "{grown}")?;
            let newly = self.limits.iter().filter(|nearness| nearness.breaks_at == Some(grown.factor));
            newly.map(|nearness| nearness.limit.what).try_for_each(|what| writeln!(f, "         breaks: {what}"))?;
        }

        writeln!(f, "\nPolicy")?;
        for constant in TABLE.iter().filter(|constant| matches!(constant.source, Source::Policy(_))) {
            let Source::Policy(why) = constant.source else { continue };
            writeln!(f, "  {:18}{} {}: {why}", constant.name, constant.value, constant.unit)?;
        }
        list(f, "Not measured", self.not_measured)?;
        list(f, "Not in the model", self.not_in_the_model)
    }
}

fn line(f: &mut Formatter<'_>, name: &str, value: f64, more: &str) -> fmt::Result {
    writeln!(f, "  {name:18}{:>8}  {more}", short(value))
}

fn costs(f: &mut Formatter<'_>, costs: &[Cost]) -> fmt::Result {
    let all: f64 = costs.iter().map(|cost| cost.cores).sum();
    let mut shown: Vec<_> = costs.iter().filter(|cost| cost.cores > SHOWN_SHARE * all).collect();
    shown.sort_by(|one, other| other.cores.total_cmp(&one.cores));
    shown.iter().try_for_each(|cost| {
        writeln!(f, "  {:>6} cores {:>3.0} %  {}: {}", short(cost.cores), 100.0 * cost.cores / all, cost.what, cost.by)
    })
}

fn list(f: &mut Formatter<'_>, name: &str, lines: &[&str]) -> fmt::Result {
    writeln!(f, "\n{name}")?;
    lines.iter().try_for_each(|line| writeln!(f, "- {line}"))
}

impl Display for Nearness {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let limit = &self.limit;
        let breaks = match self.breaks_at {
            Some(1) => "broken".to_owned(),
            Some(factor) => format!("× {factor}"),
            None => "later".to_owned(),
        };
        writeln!(
            f,
            "  {breaks:>7} {:>5.0} %  {}: {} of {}",
            limit.percent(),
            limit.what,
            short(limit.used),
            format!("{} {}", short(limit.most), limit.unit).trim_end(),
        )?;
        writeln!(f, "                   by {}", limit.by)?;
        if self.breaks_at.is_some() {
            writeln!(f, "                   then {}", limit.then)?;
            writeln!(f, "                   what helps: {}", limit.helps)?;
        }
        Ok(())
    }
}

impl Display for Grown {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Outcome::Machines(machines) => writeln!(f, "  × {:<4} {machines}", self.factor),
            Outcome::NoPlan(reason) => writeln!(f, "  × {:<4} no plan: {reason}", self.factor),
        }
    }
}

impl Display for Machines {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Machines { gateways, counters, redis, etcd } = self;
        write!(f, "{gateways} gateways, {counters} counter nodes, {redis} Redis nodes, {etcd} etcd members")
    }
}
