"""Mail that waits to be sent: written in the transaction that is the reason for it, sent by a job (tasks)."""
