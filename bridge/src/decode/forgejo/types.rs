//! The types that several webhooks of Forgejo and Gitea share.

use serde::Deserialize;

#[derive(Default, Deserialize)]
pub(super) struct Repository {
    pub(super) full_name: String,
    pub(super) html_url: Option<String>,
}

#[derive(Default, Deserialize)]
pub(super) struct User {
    pub(super) login: Option<String>,
    pub(super) username: Option<String>,
    pub(super) name: Option<String>,
}

impl User {
    pub(super) fn name(&self) -> Option<&str> {
        let names = [&self.login, &self.username, &self.name];
        names.into_iter().flatten().map(String::as_str).find(|name| !name.trim().is_empty())
    }
}
