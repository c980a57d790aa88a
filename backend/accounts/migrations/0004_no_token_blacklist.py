"""simplejwt's blacklist is not used any more: its tables, which hold whole tokens, would keep users from being erased."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("accounts", "0003_token_families")]

    operations = [
        migrations.RunSQL("DROP TABLE IF EXISTS token_blacklist_blacklistedtoken", migrations.RunSQL.noop),
        migrations.RunSQL("DROP TABLE IF EXISTS token_blacklist_outstandingtoken", migrations.RunSQL.noop),
    ]
