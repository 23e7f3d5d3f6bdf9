"""Who may do what: the policy table of roles and actions."""
