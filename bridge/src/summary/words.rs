//! The words of a summary: the caption of its picture, which also tells what is in it to those who do not see it.

use jiff::{Timestamp, tz::TimeZone};

use crate::{
    config::{Display, Language},
    message::{Counts, Urgency},
    render::{Rendered, Speaker, alert, markup},
    summary::totals::{Digest, Unresolved},
    text::shown,
};

/// How many hosts or alerts a line names.
const MOST_NAMED: usize = 5;

/// Everything there is to say of what came in by the route `name`.
///
/// `numbered` are hosts that are numbers in the picture, with those numbers.
pub(super) fn words(
    name: &str,
    digest: &Digest,
    numbered: &[(String, &Speaker)],
    display: &Display,
) -> Rendered {
    let words = Words { language: display.language, zone: &display.time_zone };
    let title = words.title(name, digest);
    let mut lines = Vec::new();
    if digest.is_empty() {
        lines.push(words.nothing(digest.last_before));
    } else {
        lines.push(words.counts(digest));
        lines.extend(words.hosts(digest));
        lines.extend(words.unresolved(&digest.unresolved()));
        lines.extend(words.numbers(numbered));
    }
    lines.extend(digest.kept_since.map(|since| words.kept_since(since)));
    let body = lines.join("\n");
    let html = format!("<strong>{}</strong><br>{}", markup::html(&title), markup::html(&body));
    // Nobody has to act on it at once.
    Rendered::new(format!("{title}\n{body}"), html, Urgency::Routine)
}

struct Words<'a> {
    language: Language,
    zone: &'a TimeZone,
}

impl Words<'_> {
    fn title(&self, name: &str, digest: &Digest) -> String {
        let (from, until) = (self.time(digest.period.start), self.time(digest.period.end));
        match self.language {
            Language::English => format!("📈 Summary of {name}, {from} – {until}"),
            Language::Chinese => format!("📈 {name} 汇总，{from} – {until}"),
        }
    }

    fn nothing(&self, last: Option<Timestamp>) -> String {
        let last = last.map(|last| self.time(last));
        match (self.language, last) {
            (Language::English, None) => "⚠️ Nothing came in.".to_owned(),
            (Language::English, Some(last)) => {
                format!("⚠️ Nothing came in. The last message is of {last}.")
            }
            (Language::Chinese, None) => "⚠️ 没有收到任何消息。".to_owned(),
            (Language::Chinese, Some(last)) => {
                format!("⚠️ 没有收到任何消息。最后一条消息的时间：{last}。")
            }
        }
    }

    fn counts(&self, digest: &Digest) -> String {
        let alerts = self.alerts(digest.alerts);
        let more = if digest.has_more_hosts { "+" } else { "" };
        let hosts = format!("{}{more}", grouped(digest.hosts.len() as u64));
        let parts = match self.language {
            Language::English => [
                (digest.reports > 0).then(|| {
                    let reports = counted(digest.reports, "report", "reports");
                    let word = if digest.hosts.len() == 1 { "host" } else { "hosts" };
                    format!("{reports} from {hosts} {word}")
                }),
                alerts,
                (digest.others > 0)
                    .then(|| counted(digest.others, "other message", "other messages")),
            ],
            Language::Chinese => [
                (digest.reports > 0)
                    .then(|| format!("{hosts} 台主机的 {} 份报告", grouped(digest.reports))),
                alerts,
                (digest.others > 0).then(|| format!("{} 条其他消息", grouped(digest.others))),
            ],
        };
        self.list(parts.into_iter().flatten())
    }

    fn alerts(&self, alerts: Counts) -> Option<String> {
        if alerts == Counts::default() {
            return None;
        }
        let severities = [
            (alerts.critical, "critical", "严重"),
            (alerts.warning, "warning", "警告"),
            (alerts.info, "info", "信息"),
            (alerts.resolved, "resolved", "已恢复"),
        ];
        let parts = severities.into_iter().filter(|(count, ..)| *count > 0);
        Some(match self.language {
            Language::English => {
                let parts = parts.map(|(count, word, _)| format!("{} {word}", grouped(count)));
                let alerts = match alerts.firing() {
                    0 => "no new alert".to_owned(),
                    fired => counted(fired, "alert", "alerts"),
                };
                format!("{alerts} ({})", self.list(parts))
            }
            Language::Chinese => {
                let parts = parts.map(|(count, _, word)| format!("{word} {}", grouped(count)));
                let parts = self.list(parts);
                format!("{} 条告警（{parts}）", grouped(alerts.firing()))
            }
        })
    }

    /// What of the hosts wants attention; if nothing does, that and the highest values.
    fn hosts(&self, digest: &Digest) -> Vec<String> {
        let percent =
            |(host, value): (&Speaker, f32)| format!("{} {}", self.host(host), percent(value));
        let disks = digest.high(|host| host.disk.latest);
        let memories = digest.high(|host| host.memory.peak());
        let (filling, silent) = (digest.filling(), digest.silent());
        let mut lines = Vec::new();
        if !disks.is_empty() {
            let hosts = self.named(disks.into_iter().map(percent).collect());
            lines.push(match self.language {
                Language::English => format!("💾 Disk almost full: {hosts}"),
                Language::Chinese => format!("💾 磁盘将满：{hosts}"),
            });
        }
        if !filling.is_empty() {
            let hosts = filling.into_iter().map(|host| self.filling(host)).collect();
            let hosts = self.named(hosts);
            lines.push(match self.language {
                Language::English => format!("⏳ Disk filling up: {hosts}"),
                Language::Chinese => format!("⏳ 磁盘持续增长：{hosts}"),
            });
        }
        if !memories.is_empty() {
            let hosts = self.named(memories.into_iter().map(percent).collect());
            lines.push(match self.language {
                Language::English => format!("🧠 Memory almost full at its highest: {hosts}"),
                Language::Chinese => format!("🧠 内存峰值过高：{hosts}"),
            });
        }
        if !silent.is_empty() {
            let hosts = silent.into_iter().map(|(host, last)| match self.language {
                Language::English => format!("{} since {}", self.host(host), self.time(last)),
                Language::Chinese => format!("{}（自 {}）", self.host(host), self.time(last)),
            });
            let hosts = self.named(hosts.collect());
            lines.push(match self.language {
                Language::English => format!("🔇 Silent: {hosts}"),
                Language::Chinese => format!("🔇 失联：{hosts}"),
            });
        }
        if lines.is_empty() {
            lines.extend(self.all_well(digest));
        }
        lines
    }

    fn host(&self, host: &Speaker) -> String {
        host.shown(self.language.words())
    }

    fn filling(&self, (host, latest, days): (&Speaker, f32, f32)) -> String {
        let name = self.host(host);
        let latest = percent(latest);
        let days = days.round();
        match self.language {
            Language::English if days < 2.0 => {
                format!("{name} {latest} (at this rate full in a day)")
            }
            Language::English => format!("{name} {latest} (at this rate full in {days} days)"),
            Language::Chinese => {
                format!("{name} {latest}（照此速度约 {} 天后写满）", days.max(1.0))
            }
        }
    }

    fn all_well(&self, digest: &Digest) -> Option<String> {
        let disk = digest.highest(|host| host.disk.latest);
        let memory = digest.highest(|host| host.memory.peak());
        let (disk_word, memory_word) = match self.language {
            Language::English => ("disk", "memory"),
            Language::Chinese => ("磁盘", "内存"),
        };
        let say = |word: &str, highest: Option<(&Speaker, f32)>| {
            highest.map(|(host, value)| match self.language {
                Language::English => {
                    format!("{word} at most {} ({})", percent(value), self.host(host))
                }
                Language::Chinese => {
                    format!("{word}最高 {}（{}）", percent(value), self.host(host))
                }
            })
        };
        let parts: Vec<String> =
            [say(disk_word, disk), say(memory_word, memory)].into_iter().flatten().collect();
        let parts = self.list(parts.into_iter());
        (!parts.is_empty()).then(|| match self.language {
            Language::English => format!("✅ No host needs attention: {parts}"),
            Language::Chinese => format!("✅ 所有主机正常：{parts}"),
        })
    }

    fn unresolved(&self, alerts: &[&Unresolved]) -> Option<String> {
        let mark = if alerts.first()?.is_critical { "🔴" } else { "🟠" };
        let alerts = self.named(alerts.iter().map(|alert| self.alert(alert)).collect());
        Some(match self.language {
            Language::English => format!("{mark} Not resolved: {alerts}"),
            Language::Chinese => format!("{mark} 未恢复：{alerts}"),
        })
    }

    fn alert(&self, alert: &Unresolved) -> String {
        let words = self.language.words();
        let summary = shown::entry(&alert::worded(&alert.summary, words));
        let said = match (&alert.source, self.language) {
            (None, _) => summary,
            (Some(source), Language::English) => format!("{summary} ({source})"),
            (Some(source), Language::Chinese) => format!("{summary}（{source}）"),
        };
        match &alert.via {
            Some(subject) => format!("{said}{}{}", words.gap(), words.via(subject)),
            None => said,
        }
    }

    fn numbers(&self, numbered: &[(String, &Speaker)]) -> Option<String> {
        let hosts = numbered.iter().map(|(number, host)| format!("{number} = {}", self.host(host)));
        let hosts = self.list(hosts);
        (!numbered.is_empty()).then(|| match self.language {
            Language::English => format!("🔢 In the picture: {hosts}"),
            Language::Chinese => format!("🔢 图中编号：{hosts}"),
        })
    }

    fn kept_since(&self, since: Timestamp) -> String {
        let since = self.time(since);
        match self.language {
            Language::English => {
                format!("ℹ️ The stream has deleted what came in before {since}.")
            }
            Language::Chinese => format!("ℹ️ {since} 之前的消息已被流删除。"),
        }
    }

    fn time(&self, time: Timestamp) -> String {
        let time = time.to_zoned(self.zone.clone());
        let zone = if *self.zone == TimeZone::UTC { " UTC" } else { "" };
        let form = match self.language {
            Language::English => "%a %-d %b %H:%M",
            Language::Chinese => "%-m月%-d日 %H:%M",
        };
        format!("{}{zone}", time.strftime(form))
    }

    /// The first of them, and how many more there are.
    fn named(&self, mut items: Vec<String>) -> String {
        let more = items.len().saturating_sub(MOST_NAMED);
        items.truncate(MOST_NAMED);
        if more > 0 {
            items.push(match self.language {
                Language::English => format!("and {more} more"),
                Language::Chinese => format!("另有 {more} 个"),
            });
        }
        self.list(items.into_iter())
    }

    fn list(&self, items: impl Iterator<Item = String>) -> String {
        let between = match self.language {
            Language::English => ", ",
            Language::Chinese => "，",
        };
        items.collect::<Vec<_>>().join(between)
    }
}

fn percent(value: f32) -> String {
    format!("{value:.0}%")
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

/// 1234567 as "1,234,567", which is read alike in both languages.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
