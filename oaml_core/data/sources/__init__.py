"""Read faces, verification sets and masks in the formats that users have."""
