"""Child processes: started, kept to their rules, listened to, ended, and never left behind."""
