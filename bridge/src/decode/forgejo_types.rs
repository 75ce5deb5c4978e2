//! What webhooks of Forgejo and Gitea have in common.

use serde::Deserialize;

#[derive(Default, Deserialize)]
pub(crate) struct Repository {
    pub(crate) full_name: String,
    pub(crate) html_url: Option<String>,
}

#[derive(Default, Deserialize)]
pub(crate) struct User {
    pub(crate) login: Option<String>,
    pub(crate) username: Option<String>,
    pub(crate) name: Option<String>,
}

impl User {
    pub(crate) fn name(&self) -> Option<&str> {
        let names = [&self.login, &self.username, &self.name];
        names.into_iter().flatten().map(String::as_str).find(|name| !name.trim().is_empty())
    }
}
