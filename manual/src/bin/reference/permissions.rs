//! The permissions in NATS, from those of a route that uses every feature.

use crate::{
    markdown::{code, table},
    page::Blocks,
};

/// Returns a table for each feature.
pub(crate) fn blocks(permissions: &[[String; 3]]) -> Blocks {
    let mut blocks = Blocks::new();
    for [feature, ..] in permissions {
        let of_feature = permissions.iter().filter(|[other, ..]| other == feature);
        let rows: Vec<_> =
            of_feature.map(|[_, subject, purpose]| [code(subject), purpose.clone()]).collect();
        blocks.insert(feature.clone(), table(["publish on", "to"], &rows));
    }
    blocks
}
