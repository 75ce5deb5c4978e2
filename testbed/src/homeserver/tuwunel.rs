//! tuwunel's configuration.

use super::{conduit, settings::Settings};
use crate::setup::{Placement, Setup};

/// The lines that Conduit has not. It pushes to no address of a private network unless nothing is denied.
const OWN: &str = r#"cache_capacity_modifier = 0.1
allow_registration = false
allow_guest_registration = false
new_user_displayname_suffix = ""
ip_range_denylist = []
"#;

pub(super) fn setup(settings: &Settings, place: &Placement) -> Setup {
    conduit::setup_with(OWN, "TUWUNEL_CONFIG", settings, place)
}
