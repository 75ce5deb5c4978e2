//! The texts in Chinese, in simplified characters, with the terms of the translations of Prometheus, Grafana and
//! Forgejo.

use jiff::SignedDuration;

use crate::{
    mask::Secret,
    message::{Counts, Deed, Kind, MonitorState, Outcome, Removal, State, Thing, Withheld},
    render::words::{
        figures::{grouped, large_size, two_units},
        vocabulary::Words,
    },
};

pub(crate) struct Chinese;

impl Words for Chinese {
    fn code(&self) -> &'static str {
        "zh"
    }

    fn colon(&self) -> &'static str {
        "："
    }
    fn gap(&self) -> &'static str {
        ""
    }
    fn comma(&self) -> &'static str {
        "、"
    }

    fn report(&self) -> &'static str {
        "运维报告"
    }
    fn completed(&self) -> &'static str {
        "已完成"
    }
    fn in_progress(&self) -> &'static str {
        "进行中"
    }
    fn disk_usage(&self) -> &'static str {
        "磁盘使用率"
    }
    fn memory_usage(&self) -> &'static str {
        "内存使用率"
    }
    fn unknown(&self) -> &'static str {
        "未知"
    }
    fn satisfaction(&self) -> &'static str {
        "满意度"
    }

    fn state(&self, state: State) -> &'static str {
        match state {
            State::Critical => "严重",
            State::Warning => "警告",
            State::Info => "信息",
            State::Resolved => "已恢复",
        }
    }
    fn alerts(&self, count: u64, title: &str) -> String {
        let title = if title.is_empty() { String::new() } else { format!("：{title}") };
        format!("{count} 条告警{title}")
    }
    fn tally(&self, counts: &[(String, u64)], unknown: u64) -> String {
        let unknown = (unknown > 0).then(|| format!("未知 {unknown}"));
        let counts = counts.iter().map(|(state, count)| format!("{state} {count}"));
        format!("（{}）", counts.chain(unknown).collect::<Vec<_>>().join("，"))
    }
    fn more(&self, count: usize) -> String {
        format!("… 另有 {count} 条")
    }
    fn more_not_sent(&self, count: u64) -> String {
        format!("… 另有 {count} 条，发送方未随消息发出")
    }
    fn unnamed_alert(&self) -> &'static str {
        "未命名告警"
    }

    fn until(&self, end: &str) -> String {
        format!("截至 {end}")
    }
    fn took(&self, duration: SignedDuration) -> String {
        format!("（持续 {}）", self.duration(duration))
    }
    fn duration(&self, duration: SignedDuration) -> String {
        two_units(duration, ["天", "小时", "分钟", "秒"])
    }
    fn bytes(&self, count: u64) -> String {
        match count {
            0..1024 => format!("{count} 字节"),
            _ => large_size(count),
        }
    }

    fn resolved_after(&self, took: &str, summary: &str) -> String {
        let summary = if summary.is_empty() { String::new() } else { format!("：{summary}") };
        format!("✅ 已恢复，持续 {took}{summary}")
    }
    fn relapses(&self, times: u32, since: &str) -> String {
        format!("🔁 自 {since} 起已反复 {times} 次")
    }
    fn has_it(&self, who: &str, at: &str) -> String {
        format!("👤 {who} 正在处理（{at}）")
    }
    fn has_it_no_more(&self, who: &str) -> String {
        format!("👤 {who} 不再处理")
    }
    fn messages(&self, count: usize) -> String {
        format!("{count} 条消息")
    }
    fn counted(&self, kind: Kind, count: usize) -> String {
        let word = match kind {
            Kind::Alert(State::Critical) => "严重",
            Kind::Alert(State::Warning) => "警告",
            Kind::Alert(State::Info) => "信息",
            Kind::Alert(State::Resolved) => "已恢复",
            Kind::Report => "报告",
            Kind::Other => "其他",
        };
        format!("{word} {count}")
    }
    fn and_more(&self, named: &str, more: usize) -> String {
        format!("{named}，另有 {more} 个")
    }
    fn newest(&self) -> &'static str {
        "最新一条："
    }
    fn in_thread(&self) -> &'static str {
        "每条消息均在此消息的讨论串中。"
    }

    fn via(&self, subject: &str) -> String {
        format!("（经由 {subject}）")
    }

    fn test_of(&self, sender: &str) -> String {
        format!("{sender} 的测试消息")
    }

    fn no_data(&self, rule: &str) -> String {
        format!("{rule} 没有数据")
    }

    fn query_failed(&self, rule: &str) -> String {
        format!("{rule} 无法检查：查询失败")
    }

    fn empty_message(&self, subject: &str) -> String {
        format!("{subject} 收到一条空消息")
    }
    fn answer_of_nats(&self) -> &'static str {
        "nats-matrix：NATS 对某个发布者的应答，由其指定发到此主题；不含任何信息"
    }
    fn hidden(&self, secret: Secret) -> &'static str {
        match secret {
            Secret::Jwt => "[已隐藏JWT]",
            Secret::PrivateKey => "[已隐藏私钥]",
            Secret::Nkey => "[已隐藏NATS凭据]",
            Secret::Password => "[已隐藏密码]",
            Secret::Token => "[已隐藏令牌]",
            Secret::Unsubscribe => "[已隐藏链接]",
        }
    }
    fn not_text(&self, size: &str) -> String {
        format!("{size} 非文本数据")
    }
    fn attached(&self, size: &str) -> String {
        format!("完整内容（{size}）见附件")
    }
    fn withheld(&self, size: &str, why: Withheld, stream: &str, sequence: u64) -> String {
        let why = match why {
            Withheld::Never => "此路由不附文件".to_owned(),
            Withheld::OverLimit(limit) => {
                format!("此路由一小时内的附件将超过 {}", self.bytes(limit))
            }
            Withheld::TooLarge(limit) => {
                format!("服务器不接受超过 {} 的文件", self.bytes(limit))
            }
            Withheld::NotTaken => "服务器未接受该文件".to_owned(),
        };
        format!("完整内容（{size}）未附上（{why}），见流 {stream} 的第 {sequence} 条消息")
    }
    fn flaw(&self, flaw: &str) -> String {
        format!("消息格式有误：{flaw}")
    }
    fn shown_raw(&self) -> &'static str {
        "发送者的格式有误，因此按原样显示"
    }
    fn template_failed(&self, fault: &str) -> String {
        format!("模板出错，已改用内置模板：{fault}")
    }
    fn caught_up(&self, count: u64, oldest: &str) -> String {
        format!("积压已全部送达：{count} 条消息迟到，最久迟了 {oldest}")
    }

    fn removed(&self, removal: &Removal, since: &str, until: &str) -> String {
        let Removal { stream, count, first, last, is_exact, .. } = removal;
        let count = grouped(*count);
        let up_to = if *is_exact { "" } else { "最多" };
        format!(
            "{up_to}{count} 条消息（序号 {first} 至 {last}，{since} 至 {until}）在读取之前已被流 {stream} 删除，无法显示"
        )
    }

    fn may_be_repeated(&self, room: &str) -> String {
        format!("此消息可能重复：发送到 {room} 期间，该房间对桥接关闭")
    }

    fn nats_refuses(&self, reason: &str) -> String {
        format!("在解决以下问题之前，这里不会收到任何消息：{reason}")
    }

    fn refused(&self, sequence: u64, subject: &str, reason: &str, kept_on: Option<&str>) -> String {
        let place = kept_on.map_or_else(
            || "NATS 也不接受它作为死信，未能另行保存".to_owned(),
            |kept_on| format!("原消息已保存到 {kept_on}"),
        );
        format!("{subject} 的第 {sequence} 条消息无法完整显示（主服务器：{reason}），{place}")
    }

    fn monitor(&self, id: Option<i64>) -> String {
        id.map_or_else(|| "某监控项".to_owned(), |id| format!("监控项 {id}"))
    }
    fn monitored(&self, monitor: &str, state: MonitorState) -> String {
        match state {
            MonitorState::Down => format!("{monitor} 不可用"),
            MonitorState::Up => format!("{monitor} 恢复正常"),
            MonitorState::Pending => format!("{monitor} 无响应，正在重试"),
            MonitorState::Maintenance => format!("{monitor} 维护中"),
        }
    }

    fn somebody(&self) -> &'static str {
        "有人"
    }
    fn a_repository(&self) -> &'static str {
        "某仓库"
    }
    fn pushed(&self, who: &str, count: usize, repository: &str, branch: &str) -> String {
        format!("{who} 向 {repository} {branch} 推送了 {count} 个提交")
    }
    fn more_commits(&self, count: usize) -> String {
        format!("… 另有 {count} 个")
    }
    fn thing(&self, thing: Thing, name: &str, repository: &str) -> String {
        let thing = match thing {
            Thing::Branch => "分支",
            Thing::Tag => "标签",
            Thing::Reference => "引用",
            Thing::Issue => "工单",
            Thing::PullRequest => "合并请求",
            Thing::Release => "版本",
            Thing::WikiPage => "百科页面",
            Thing::Package => "软件包",
        };
        let name = if name.is_empty() { String::new() } else { format!(" {name}") };
        format!("{repository} 的{thing}{name}")
    }
    fn did(&self, who: &str, deed: &Deed, thing: &str) -> String {
        // The verb, and the part of the thing that it was done to.
        let (deed, part) = match deed {
            Deed::Made => ("创建了", ""),
            Deed::Moved => ("移动了", ""),
            Deed::Deleted => ("删除了", ""),
            Deed::Merged => ("合并了", ""),
            Deed::Approved => ("批准了", ""),
            Deed::AskedForChanges => return format!("{who} 要求修改 {thing}"),
            Deed::Reviewed => ("评审了", ""),
            Deed::Commented => ("评论了", ""),
            Deed::ToComment(word) => match word.as_str() {
                "edited" => ("编辑了", "的评论"),
                "deleted" => ("删除了", "的评论"),
                word => return format!("{who} {} {thing} 的评论", word.replace('_', " ")),
            },
            Deed::Other(word) => match word.as_str() {
                "created" => ("创建了", ""),
                "deleted" => ("删除了", ""),
                "opened" => ("打开了", ""),
                "closed" => ("关闭了", ""),
                "reopened" => ("重新打开了", ""),
                "edited" => ("编辑了", ""),
                "updated" => ("更新了", ""),
                "published" => ("发布了", ""),
                "assigned" => ("指派了", ""),
                "unassigned" => ("取消了", "的指派"),
                "label_updated" => ("修改了", "的标签"),
                "label_cleared" => ("清除了", "的标签"),
                "milestoned" => ("设置了", "的里程碑"),
                "demilestoned" => ("移除了", "的里程碑"),
                "synchronized" => ("更新了", "的提交"),
                "review_requested" => return format!("{who} 请求评审 {thing}"),
                "review_request_removed" => ("取消了", "的评审请求"),
                "" => ("操作了", ""),
                word => return format!("{who} {} {thing}", word.replace('_', " ")),
            },
        };
        let part = if part.is_empty() { String::new() } else { format!(" {part}") };
        format!("{who} {deed} {thing}{part}")
    }
    fn forked(&self, who: &str, original: &str, fork: &str) -> String {
        format!("{who} 将 {original} 派生为 {fork}")
    }
    fn workflow_failed(&self, workflow: &str) -> String {
        format!("工作流 {workflow} 运行失败")
    }
    fn workflow_recovered(&self, workflow: &str) -> String {
        format!("工作流 {workflow} 恢复成功")
    }
    fn workflow(&self, workflow: &str, repository: &str, outcome: &Outcome, on: &str) -> String {
        let on = if on.is_empty() { String::new() } else { format!("（{on}）") };
        format!("{repository} 的工作流 {workflow} {}{on}", ended(outcome))
    }
    fn job(&self, job: &str, repository: &str, branch: &str, outcome: &Outcome) -> String {
        format!("{repository} 的任务 {job}（{branch}）：{}", ended(outcome))
    }
    fn triggered_by(&self, who: &str) -> String {
        format!("（由 {who} 触发）")
    }

    fn summary_of(&self, route: &str, from: &str, until: &str) -> String {
        format!("📈 {route} 汇总，{from} – {until}")
    }
    fn time_form(&self) -> &'static str {
        "%-m月%-d日 %H:%M"
    }
    fn day_form(&self) -> &'static str {
        "%m-%d"
    }
    fn between(&self) -> &'static str {
        "，"
    }
    fn nothing_came_in(&self, last: Option<&str>) -> String {
        match last {
            None => "⚠️ 没有收到任何消息。".to_owned(),
            Some(last) => format!("⚠️ 没有收到任何消息。最后一条消息的时间：{last}。"),
        }
    }
    fn reports(&self, reports: u64, hosts: u64, has_more: bool) -> String {
        let more = if has_more { "+" } else { "" };
        format!("{}{more} 台主机的 {} 份报告", grouped(hosts), grouped(reports))
    }
    fn alerts_of(&self, counts: Counts) -> String {
        let parts = [
            (counts.critical, "严重"),
            (counts.warning, "警告"),
            (counts.info, "信息"),
            (counts.resolved, "已恢复"),
        ];
        let parts = parts.iter().filter(|(count, _)| *count > 0);
        let parts: Vec<String> =
            parts.map(|(count, word)| format!("{word} {}", grouped(*count))).collect();
        format!("{} 条告警（{}）", grouped(counts.firing()), parts.join("，"))
    }
    fn other_messages(&self, count: u64) -> String {
        format!("{} 条其他消息", grouped(count))
    }
    fn disk_almost_full(&self, hosts: &str) -> String {
        format!("💾 磁盘将满：{hosts}")
    }
    fn disk_filling_up(&self, hosts: &str) -> String {
        format!("⏳ 磁盘持续增长：{hosts}")
    }
    fn memory_almost_full(&self, hosts: &str) -> String {
        format!("🧠 内存峰值过高：{hosts}")
    }
    fn silent(&self, hosts: &str) -> String {
        format!("🔇 失联：{hosts}")
    }
    fn silent_since(&self, host: &str, since: &str) -> String {
        format!("{host}（自 {since}）")
    }
    fn filling_up(&self, host: &str, latest: &str, days: f32) -> String {
        format!("{host} {latest}（照此速度约 {} 天后写满）", days.round().max(1.0))
    }
    fn highest_disk(&self, value: &str, host: &str) -> String {
        format!("磁盘最高 {value}（{host}）")
    }
    fn highest_memory(&self, value: &str, host: &str) -> String {
        format!("内存最高 {value}（{host}）")
    }
    fn all_well(&self, highest: &str) -> String {
        format!("✅ 所有主机正常：{highest}")
    }
    fn not_resolved(&self, alerts: &str) -> String {
        format!("未恢复：{alerts}")
    }
    fn happened_to(&self, summary: &str, source: &str) -> String {
        format!("{summary}（{source}）")
    }
    fn more_names(&self, count: usize) -> String {
        format!("另有 {count} 个")
    }
    fn in_the_picture(&self, hosts: &str) -> String {
        format!("🔢 图中编号：{hosts}")
    }
    fn kept_since(&self, since: &str) -> String {
        format!("ℹ️ {since} 之前的消息已被流删除。")
    }
    fn unreadable_headers(&self, count: u64) -> String {
        format!("ℹ️ {} 条消息带有无法读取的消息头。", grouped(count))
    }
    fn read_until(&self, until: &str) -> String {
        format!("⚠️ 此处缺少 {until} 之后的消息：带有无法读取的消息头的消息过多。")
    }
}

fn ended(outcome: &Outcome) -> String {
    let word = match outcome {
        Outcome::Succeeded => "success",
        Outcome::Other(word) => word,
    };
    match word {
        "success" => "运行成功",
        "failure" => "运行失败",
        "cancelled" => "已取消",
        "skipped" => "已跳过",
        "timed_out" => "已超时",
        "requested" | "queued" | "waiting" => "排队中",
        "in_progress" => "运行中",
        "completed" => "已结束",
        word => return word.replace('_', " "),
    }
    .to_owned()
}
