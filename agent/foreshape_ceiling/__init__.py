"""Hot-add ceilings for Nova's guests: a nova-compute whose domains can grow beyond their flavor (docs/hot-add.md). Needs Nova only."""
