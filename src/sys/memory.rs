//! How much memory this process may use.

use std::fs::read_to_string;

/// Bytes that the machine has, or that the control group allows, whichever is less; a gibibyte if nobody can tell.
pub fn limit_bytes() -> u64 {
    let groups = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let group = |path: &str| read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let own = own_group().into_iter().filter_map(|path| group(&path));
    let limits = groups.into_iter().filter_map(group).chain(own).chain(machine_bytes());
    limits.filter(|&bytes| bytes > 0).min().unwrap_or(1 << 30)
}

/// Where the limits of the group that this process is in may stand.
fn own_group() -> Vec<String> {
    let text = read_to_string("/proc/self/cgroup").unwrap_or_default();
    let of_line = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        match (fields.next()?, fields.next()?) {
            ("", path) => Some(format!("/sys/fs/cgroup{path}/memory.max")),
            ("memory", path) => Some(format!("/sys/fs/cgroup/memory{path}/memory.limit_in_bytes")),
            _ => None,
        }
    };
    text.lines().filter_map(of_line).collect()
}

fn machine_bytes() -> Option<u64> {
    let text = read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    #[test]
    fn there_is_some_memory() {
        let bytes = super::limit_bytes();
        assert!((1 << 26..1 << 50).contains(&bytes), "{bytes}");
    }
}
