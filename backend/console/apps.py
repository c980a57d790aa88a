from django.contrib.admin.apps import AdminConfig


class ConsoleConfig(AdminConfig):
    """Django's admin app, whose site is ours."""

    default_site = "backend.console.site.Console"
