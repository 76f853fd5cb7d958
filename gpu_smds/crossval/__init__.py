"""From blocks of sites, folds and ideals to projections and statuses: joins the rooms below."""
