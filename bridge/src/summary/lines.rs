//! The lines of a picture: which hosts it shows, and in which style.

use crate::{
    render::Speaker,
    summary::{
        canvas::{self, Ink},
        totals::{Digest, Host},
    },
};

/// The number of hosts whose lines have names; the lines of the others are grey.
const MOST_NAMED: usize = 12;

/// Colours that people with colour vision deficiencies can tell apart, too (by Okabe and Ito). The second six lines are
/// dashed.
const COLOURS: [u32; 6] = [0xd5_5e00, 0x00_72b2, 0x00_9e73, 0xcc_79a7, 0x56_b4e9, 0xe6_9f00];

/// The line of a host, the same in all panels.
pub(super) struct Line<'a> {
    pub(super) host: &'a Host,
    /// The name and style; a line without them is grey.
    pub(super) name: Option<Name<'a>>,
}

/// The name and style that distinguish a line.
pub(super) struct Name<'a> {
    /// The text in the picture: the host's name without the common domain, or a number where the font lacks the
    /// characters or another host could claim the name.
    pub(super) label: String,
    /// The full name for the caption, if the label is a number.
    full: Option<&'a Speaker>,
    pub(super) colour: Ink,
    pub(super) is_dashed: bool,
}

/// Returns the lines of all hosts: first those whose names come from subjects, and among each kind the fullest first.
pub(super) fn of(digest: &Digest) -> Vec<Line<'_>> {
    let mut hosts: Vec<(&Speaker, &Host)> = digest.hosts.iter().collect();
    let fullness = |host: &Host| {
        let (disk, memory) = (host.disk.latest, host.memory.peak());
        disk.unwrap_or_default().max(memory.unwrap_or_default())
    };
    hosts.sort_by(|a, b| {
        let named = a.0.via.is_some().cmp(&b.0.via.is_some());
        named.then(fullness(b.1).total_cmp(&fullness(a.1)))
    });
    let names: Vec<&str> = hosts.iter().map(|(speaker, _)| speaker.name.as_str()).collect();
    let domain = common_domain(&names);
    // The picture has no room for subjects. If all names come from one subject, it distinguishes nobody.
    let is_one_subject = hosts.windows(2).all(|pair| pair[0].0.via == pair[1].0.via);
    let label = |speaker: &Speaker| {
        let is_told = speaker.via.is_none() || is_one_subject;
        let label = speaker.name.strip_suffix(domain).filter(|name| canvas::can_write(name));
        label.filter(|_| is_told).map(str::to_owned)
    };
    let name = |rank: usize, speaker| Name {
        full: label(speaker).is_none().then_some(speaker),
        label: label(speaker).unwrap_or_else(|| format!("#{}", rank + 1)),
        colour: Ink::of(COLOURS[rank % COLOURS.len()]),
        is_dashed: rank >= COLOURS.len(),
    };
    let line =
        |(rank, (full, host))| Line { host, name: (rank < MOST_NAMED).then(|| name(rank, full)) };
    hosts.into_iter().enumerate().map(line).collect()
}

/// Returns the hosts that are a number in the picture, with that number. Only the caption can name them.
pub(super) fn numbered(digest: &Digest) -> Vec<(String, &Speaker)> {
    of(digest)
        .into_iter()
        .filter_map(|line| line.name)
        .filter_map(|name| Some((name.label, name.full?)))
        .collect()
}

/// Returns the longest common ending of all names that begins with a dot; empty if there is none, or only one name.
fn common_domain<'a>(names: &[&'a str]) -> &'a str {
    let [first, _, ..] = names else { return "" };
    let endings = first.char_indices().filter(|(at, c)| *c == '.' && *at > 0);
    endings
        .map(|(at, _)| &first[at..])
        .find(|ending| names.iter().all(|name| name.len() > ending.len() && name.ends_with(ending)))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_names_end_with_is_left_out() {
        assert_eq!(common_domain(&["a.x.com", "b.x.com"]), ".x.com");
        assert_eq!(common_domain(&["a.x.com", "b.y.com"]), ".com");
        assert_eq!(common_domain(&["a.x.com"]), "");
        assert_eq!(common_domain(&["a.x", "b"]), "");
        assert_eq!(common_domain(&["a.x", ".x"]), "");
        assert_eq!(common_domain(&["10.0.0.1", "10.0.1.1"]), ".1");
    }
}
