//! tuwunel's configuration.

use super::{HomeserverBuilder, conduit};
use crate::server::{Place, Setup};

/// It pushes to no address of a private network unless nothing is denied.
const OWN: &str = r#"cache_capacity_modifier = 0.1
allow_registration = false
allow_guest_registration = false
new_user_displayname_suffix = ""
ip_range_denylist = []
"#;

pub(super) fn setup(builder: &HomeserverBuilder, place: &Place) -> Setup {
    conduit::setup_with(OWN, "TUWUNEL_CONFIG", builder, place)
}
