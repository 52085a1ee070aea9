// Views that a person saved in this browser. A view is an address: it can be sent to somebody just as well.
import { Button, CloseButton, Group, Popover, Stack, Text, TextInput } from "@mantine/core";
import { useLocalStorage } from "@mantine/hooks";
import { getRouteApi } from "@tanstack/react-router";
import { useState } from "react";
import { useTranslations } from "use-intl";
import { ScreenLink } from "../kit/link";
import { fleetSearch, type FleetSearch } from "./search";

const route = getRouteApi("/inside/fleet");

interface View {
  name: string;
  search: FleetSearch;
}

export function Views() {
  const t = useTranslations("fleet");
  const common = useTranslations("common");
  const search = route.useSearch();
  const [views, setViews] = useLocalStorage<View[]>({ key: "saveos-views", defaultValue: [] });
  const [name, setName] = useState("");
  return (
    <Popover width={300} position="bottom-end" trapFocus>
      <Popover.Target>
        <Button variant="default">{t("views")}</Button>
      </Popover.Target>
      <Popover.Dropdown aria-label={t("views")}>
        <Stack gap="sm">
          {views.length === 0 && <Text size="sm">{t("noViews")}</Text>}
          {views.map((view) => (
            <Group key={view.name} justify="space-between" wrap="nowrap">
              <ScreenLink to="/fleet" search={fleetSearch({ ...view.search })}>
                {view.name}
              </ScreenLink>
              <CloseButton
                aria-label={`${common("remove")}: ${view.name}`}
                onClick={() => setViews(views.filter((other) => other.name !== view.name))}
              />
            </Group>
          ))}
          <form
            onSubmit={(event) => {
              event.preventDefault();
              setViews([...views.filter((view) => view.name !== name), { name, search }]);
              setName("");
            }}
          >
            <Stack gap="xs">
              <TextInput
                label={t("viewName")}
                value={name}
                onChange={(event) => setName(event.currentTarget.value)}
                maxLength={60}
                required
              />
              <Button type="submit" size="xs">
                {t("saveView")}
              </Button>
            </Stack>
          </form>
        </Stack>
      </Popover.Dropdown>
    </Popover>
  );
}
