//! Chinese, in simplified characters, with the terms of Prometheus', Grafana's and Forgejo's translations.

use jiff::SignedDuration;

use crate::{
    message::{Deed, Kind, Outcome, State, Thing, Withheld},
    render::words::{Words, large_size, two_units},
};

pub(crate) struct Chinese;

impl Words for Chinese {
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

    fn empty_message(&self, subject: &str) -> String {
        format!("{subject} 收到一条空消息")
    }
    fn answer_of_nats(&self) -> &'static str {
        "nats-matrix：NATS 对某个发布者的应答，由其指定发到此主题；不含任何信息"
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
    fn template_failed(&self, fault: &str) -> String {
        format!("模板出错，已改用内置模板：{fault}")
    }
    fn caught_up(&self, count: u64, oldest: &str) -> String {
        format!("积压已全部送达：{count} 条消息迟到，最久迟了 {oldest}")
    }

    fn refused(&self, sequence: u64, subject: &str, reason: &str, kept_on: &str) -> String {
        format!(
            "{subject} 的第 {sequence} 条消息无法完整显示（主服务器：{reason}），原消息已保存到 {kept_on}"
        )
    }

    fn monitor(&self, id: Option<i64>) -> String {
        id.map_or_else(|| "某监控项".to_owned(), |id| format!("监控项 {id}"))
    }
    fn is_down(&self, monitor: &str) -> String {
        format!("{monitor} 不可用")
    }
    fn is_up(&self, monitor: &str) -> String {
        format!("{monitor} 恢复正常")
    }
    fn is_tried_again(&self, monitor: &str) -> String {
        format!("{monitor} 无响应，正在重试")
    }
    fn is_under_maintenance(&self, monitor: &str) -> String {
        format!("{monitor} 维护中")
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
    fn did(&self, who: &str, deed: Deed<'_>, thing: &str) -> String {
        // What was done, and what of the thing it was done to.
        let (deed, part) = match deed {
            Deed::Made | Deed::Other("created") => ("创建了", ""),
            Deed::Moved => ("移动了", ""),
            Deed::Deleted | Deed::Other("deleted") => ("删除了", ""),
            Deed::Merged => ("合并了", ""),
            Deed::Approved => ("批准了", ""),
            Deed::AskedForChanges => return format!("{who} 要求修改 {thing}"),
            Deed::Reviewed => ("评审了", ""),
            Deed::Commented => ("评论了", ""),
            Deed::ToComment("edited") => ("编辑了", "的评论"),
            Deed::ToComment("deleted") => ("删除了", "的评论"),
            Deed::ToComment(word) => {
                return format!("{who} {} {thing} 的评论", word.replace('_', " "));
            }
            Deed::Other("opened") => ("打开了", ""),
            Deed::Other("closed") => ("关闭了", ""),
            Deed::Other("reopened") => ("重新打开了", ""),
            Deed::Other("edited") => ("编辑了", ""),
            Deed::Other("updated") => ("更新了", ""),
            Deed::Other("published") => ("发布了", ""),
            Deed::Other("assigned") => ("指派了", ""),
            Deed::Other("unassigned") => ("取消了", "的指派"),
            Deed::Other("label_updated") => ("修改了", "的标签"),
            Deed::Other("label_cleared") => ("清除了", "的标签"),
            Deed::Other("milestoned") => ("设置了", "的里程碑"),
            Deed::Other("demilestoned") => ("移除了", "的里程碑"),
            Deed::Other("synchronized") => ("更新了", "的提交"),
            Deed::Other("review_requested") => return format!("{who} 请求评审 {thing}"),
            Deed::Other("review_request_removed") => ("取消了", "的评审请求"),
            Deed::Other("") => ("操作了", ""),
            Deed::Other(word) => return format!("{who} {} {thing}", word.replace('_', " ")),
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
    fn workflow(&self, workflow: &str, repository: &str, outcome: Outcome<'_>, on: &str) -> String {
        let on = if on.is_empty() { String::new() } else { format!("（{on}）") };
        format!("{repository} 的工作流 {workflow} {}{on}", ended(outcome))
    }
    fn job(&self, job: &str, repository: &str, branch: &str, outcome: Outcome<'_>) -> String {
        format!("{repository} 的任务 {job}（{branch}）：{}", ended(outcome))
    }
    fn triggered_by(&self, who: &str) -> String {
        format!("（由 {who} 触发）")
    }
}

fn ended(outcome: Outcome<'_>) -> String {
    match outcome {
        Outcome::Succeeded | Outcome::Other("success") => "运行成功",
        Outcome::Other("failure") => "运行失败",
        Outcome::Other("cancelled") => "已取消",
        Outcome::Other("skipped") => "已跳过",
        Outcome::Other("timed_out") => "已超时",
        Outcome::Other("requested" | "queued" | "waiting") => "排队中",
        Outcome::Other("in_progress") => "运行中",
        Outcome::Other("completed") => "已结束",
        Outcome::Other(word) => return word.replace('_', " "),
    }
    .to_owned()
}
